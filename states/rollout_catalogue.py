"""What every reason of a rollout by steps means, what causes it, and what to do about it."""

from collections.abc import Mapping

from states.explanation import NOTHING, Explanation
from states.phases import Phase
from states.reasons import Reason

ROLLOUT_REASONS: Mapping[str, Explanation] = {
    Reason.ROLLOUT_BEGUN: Explanation(
        "A rollout by steps has begun.",
        "The spec declares other weights, or `kanary retry` was called.",
        NOTHING,
        (Phase.ROLLING,),
    ),
    Reason.STEP_STARTED: Explanation(
        "The weights of a step are decided, and not every proxy serves them yet.",
        "The step before has passed or was promoted.",
        "None: the step is watched as soon as every proxy serves it and its pods pass a health check. If they do not "
        "until the progress deadline, the step fails.",
        (Phase.ROLLING,),
    ),
    Reason.STEP_WATCHED: Explanation(
        "Every proxy serves the step, and its time passes.",
        "The step has a time (`spec.rollout.steps[].for`).",
        "None: wait for the end of the time, or call `kanary promote`.",
        (Phase.ROLLING,),
    ),
    Reason.WAITING_FOR_PROMOTION: Explanation(
        "The step waits until a person promotes it; it is still judged.",
        "The step has `until: Promoted`.",
        "Call `kanary promote` to continue, or `kanary abort` to roll back.",
        (Phase.ROLLING,),
    ),
    Reason.WAITING_FOR_EVIDENCE: Explanation(
        "The time of the step has passed, and too few connections are counted for a verdict.",
        "There is little traffic, the step has a small share, or a query has no result.",
        "Wait for more connections, until `spec.rollout.analysis.maxWait` at the latest; `kanary promote` continues "
        "without them.",
        (Phase.ROLLING,),
    ),
    Reason.WAITING_FOR_WEBHOOK: Explanation(
        "The rollout waits until a webhook allows it to continue.",
        "A webhook has not decided yet, or cannot be called; the message has its answer or the error.",
        "See the message and the receiver of the webhook. `kanary promote` does not override a webhook.",
        (Phase.ROLLING,),
    ),
    Reason.INCONCLUSIVE: Explanation(
        "Too few connections were counted until `spec.rollout.analysis.maxWait`.",
        "There is too little traffic for the limits of the analysis, or a query has no result.",
        "Decide: `kanary promote` continues, `kanary abort` rolls back. For the next time, choose longer steps, a "
        "greater share or other limits with `kanary simulate`.",
        (Phase.ROLLING,),
    ),
    Reason.ROLLOUT_PAUSED: Explanation(
        "The rollout is paused: no step follows, and its time stops. The step is still judged.",
        "`kanary pause` was called, or `spec.paused` is true.",
        "Call `kanary resume`, or set `spec.paused` to false.",
        (Phase.ROLLING,),
    ),
    Reason.ROLLOUT_RESUMED: Explanation(
        "The pause of the rollout has ended.",
        "`kanary resume` was called, or `spec.paused` is false.",
        NOTHING,
        (Phase.ROLLING,),
    ),
    Reason.FROZEN: Explanation(
        "No weight may change, except back to the last good ones.",
        "`spec.freeze` is set.",
        "Wait until `spec.freeze.until`, or remove `spec.freeze`.",
        (Phase.ROLLING,),
    ),
    Reason.OUTSIDE_WINDOW: Explanation(
        "The next step waits until a window opens.",
        "No window of `spec.rollout.windows` is open.",
        "Wait until the time in the message, or change the windows.",
        (Phase.ROLLING,),
    ),
    Reason.VERDICT_FAILED: Explanation(
        "The new version fails significantly more connections than the others, or a Prometheus query has failed.",
        "The new version has a defect; the message has the numbers.",
        "Fix the new version and declare its weights again, or call `kanary retry`. See `kanary get NAME` for the "
        "failed connections. With `onFailure: Pause`, `kanary promote` or `kanary abort` decides.",
        (Phase.ROLLING,),
    ),
    Reason.CANARY_LOST: Explanation(
        "No pod of the new version is usable any more.",
        "The pods crash, do not pass their readiness probe, or cannot be reached.",
        "Fix the pods, then call `kanary retry`. With `onFailure: Pause`, `kanary promote` or `kanary abort` decides.",
        (Phase.ROLLING,),
    ),
    Reason.STEP_DEADLINE_EXCEEDED: Explanation(
        "The step was not served, or had no ready pods, until the progress deadline.",
        "Proxies or pods of the new version do not become ready; the message names them.",
        "Fix the cause, then call `kanary retry`. With `onFailure: Pause`, `kanary promote` or `kanary abort` decides.",
        (Phase.ROLLING,),
    ),
    Reason.WEBHOOK_REFUSED: Explanation(
        "A webhook has refused the step.",
        "The receiver of the webhook answered that the rollout must not continue; the message has its words.",
        "Do what the receiver asks for, then call `kanary retry`. With `onFailure: Pause`, `kanary promote` or "
        "`kanary abort` decides.",
        (Phase.ROLLING,),
    ),
    Reason.ABORTED: Explanation(
        "The rollout was ended by hand: the last good weights are in force again.",
        "`kanary abort` was called; the message has the user and the text.",
        "Call `kanary retry` to begin again, or declare other weights.",
        (Phase.DEGRADED,),
    ),
    Reason.ROLLED_BACK: Explanation(
        "The last good weights are in force again; the declared ones are not tried again.",
        "A step has failed or was aborted; the message has the cause.",
        "Fix the new version, then call `kanary retry` or declare other weights. If the last good weights are to stay, "
        "declare them.",
        (Phase.DEGRADED,),
    ),
    Reason.ROLLOUT_COMPLETED: Explanation(
        "The rollout is complete: its weights are the last good ones now.",
        "The last step has passed, or the spec declares the last good weights again.",
        "None.",
        (Phase.ROLLING,),
    ),
}
