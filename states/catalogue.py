"""What every reason means, what causes it, and what to do about it. docs/reasons.md and `kanary explain` show it."""

from collections.abc import Mapping

from states.explanation import NOTHING, Explanation
from states.phases import Phase
from states.reasons import ConditionReason, EventReason, Reason
from states.rollout_catalogue import ROLLOUT_REASONS

_SPEC: Mapping[str, Explanation] = {
    Reason.INVALID_SPEC: Explanation(
        "The spec cannot be applied. The last good configuration stays in force.",
        "A field is missing, unknown or has an invalid value, or two fields exclude each other.",
        "Change the field that the message names. `kanary lint -f FILE` finds such errors before they are applied.",
        (Phase.DEGRADED,),
    ),
    Reason.INVALID_NAME: Explanation(
        "A name in the spec, or that of the Kanary, is invalid. The last good configuration stays in force.",
        "It is not a DNS label, or it is too long.",
        "Correct the name. A Kanary cannot be renamed: create it under another name.",
        (Phase.DEGRADED,),
    ),
    Reason.INVALID_WEIGHTS: Explanation(
        "The weights cannot be applied. The last good configuration stays in force.",
        "A weight is not a number from 0 to 100 with at most one decimal, or the weights do not sum to 100.",
        "Correct the weights in `spec.routes`; the message has their sum.",
        (Phase.DEGRADED,),
    ),
    Reason.NO_ROUTES: Explanation(
        "The spec has no route. The last good configuration stays in force.",
        "`spec.routes` is missing or empty.",
        "Declare at least one route. To stop the traffic, delete the Kanary.",
        (Phase.DEGRADED,),
    ),
    Reason.DUPLICATE_BACKEND: Explanation(
        "Two routes have the same backend. The last good configuration stays in force.",
        "A port of a Service is listed twice, perhaps once by its name and once by its number.",
        "Keep one of the routes, with the sum of their weights.",
        (Phase.DEGRADED,),
    ),
    Reason.BACKEND_IS_DESTINATION: Explanation(
        "A route would send connections back to the Kanary. The last good configuration stays in force.",
        "A route names the Service of `spec.destination`.",
        "Name the Service of a version in the route, or choose another destination.",
        (Phase.DEGRADED,),
    ),
    Reason.BACKEND_IS_EXTERNAL_NAME: Explanation(
        "A backend has no endpoints to which Kanary could connect. The last good configuration stays in force.",
        "The Service of a route has the type ExternalName.",
        "Name a Service with a selector or with EndpointSlices.",
        (Phase.DEGRADED,),
    ),
    Reason.BACKEND_PORT_NOT_FOUND: Explanation(
        "The Service of a route does not have the declared port. The last good configuration stays in force.",
        "The port in the route is wrong, or it was renamed or removed in the Service.",
        "Correct the port in the route or in the Service; the message lists the ports that exist.",
        (Phase.DEGRADED,),
    ),
    Reason.BACKEND_PORT_NOT_TCP: Explanation(
        "The port of a route is not a TCP port. The last good configuration stays in force.",
        "The port of the Service has the protocol UDP or SCTP.",
        "Choose a TCP port: Kanary splits TCP connections only.",
        (Phase.DEGRADED,),
    ),
    Reason.TOO_MANY_ENDPOINTS: Explanation(
        "The Services of the routes have more ready pods than fit into a ConfigMap. The last good configuration stays "
        "in force, without the pods that have ended.",
        "The configuration of HAProxy names each pod, and Kubernetes limits a ConfigMap to 1 MiB.",
        "Scale the backends down, or divide them between several Kanaries.",
        (Phase.DEGRADED,),
    ),
    Reason.DESTINATION_EXISTS: Explanation(
        "The destination Service exists and was not created by Kanary, which does not change it. The proxies run.",
        "Another tool or person created a Service with the name of `spec.destination`.",
        "Choose another destination. Or set `spec.adoptDestination` to true: no connection fails. Or delete that "
        "Service when the message says that the proxies serve: new connections fail for a moment.",
        (Phase.DEGRADED,),
    ),
    Reason.DESTINATION_NOT_ADOPTABLE: Explanation(
        "The destination Service cannot be switched to the proxies, or has ports that the proxies do not serve. It "
        "stays as it is, and the proxies run.",
        "It is headless, has no selector, has other ports than the Kanary, or belongs to a controller; the message "
        "says which.",
        "Follow the message, or choose another destination.",
        (Phase.DEGRADED,),
    ),
    Reason.DESTINATION_PORT_IN_USE: Explanation(
        "The spec lacks a port of the adopted destination Service. The last good configuration stays in force, so that "
        "connections to that port do not fail.",
        "An entry was removed from `spec.ports`, or `spec.port` was changed, while the Service has the port, or in the "
        "same edit as `spec.destination`.",
        "Add the port to the spec again, and remove it when the Service lacks it or is not adopted any more.",
        (Phase.DEGRADED,),
    ),
    Reason.DESTINATION_TAKEN: Explanation(
        "The destination belongs to another Kanary, which keeps it.",
        "Two Kanaries of the namespace declare the same `spec.destination`.",
        "Choose another destination, or delete the other Kanary.",
        (Phase.DEGRADED,),
    ),
    Reason.OBJECT_EXISTS: Explanation(
        "An object that Kanary needs exists and belongs to something else; Kanary does not change it.",
        "A ConfigMap, Deployment or PodDisruptionBudget has the name that Kanary uses for its proxies.",
        "Delete or rename the object that the message names. Kanary retries every 30 s.",
        (Phase.DEGRADED,),
    ),
}

_WAITING: Mapping[str, Explanation] = {
    Reason.DESTINATION_RELEASING: Explanation(
        "The destination Service still belongs to a deleted Kanary.",
        "The cluster has not deleted the objects of that Kanary yet.",
        "Wait until the garbage collector has deleted the Service. If it does not, check its finalizers.",
        (Phase.PENDING, Phase.DEGRADED),
    ),
    Reason.BACKEND_NOT_FOUND: Explanation(
        "The Service of a route does not exist. A Kanary that serves keeps the pods that it knows.",
        "The name is wrong, or the Service was deleted or is not created yet.",
        "Create the Service, or correct the name in the route.",
        (Phase.PENDING, Phase.DEGRADED),
    ),
    Reason.ENDPOINTS_UNKNOWN: Explanation(
        "The pods of a backend are unknown. The last known ones stay in service.",
        "The Service has no EndpointSlice of its present version: it was just replaced, or its port was renamed.",
        "Wait a few seconds. If it lasts, check the kube-controller-manager; for a Service without a selector, create "
        "an EndpointSlice.",
        (Phase.DEGRADED,),
    ),
    Reason.WAITING_FOR_ENDPOINTS: Explanation(
        "A new Kanary, or the next step of a rollout, waits for the first ready pods of a route. A new Kanary waits "
        "without limit if no route has any, and for 30 s if some have.",
        "The pods are starting, do not pass their readiness probe, or do not match the selector of the Service.",
        "Make a pod of each route that the message names ready. A rollout fails after `spec.progressDeadlineSeconds`.",
        (Phase.PENDING, Phase.ROLLING),
    ),
    Reason.PAUSED: Explanation(
        "Changes of the spec wait. The weights in force stay, and endpoints are still updated.",
        "`spec.paused` is true.",
        "Set `spec.paused` to false.",
        (Phase.PENDING, Phase.RENDERING, Phase.DEGRADED),
    ),
}

_FAILED: Mapping[str, Explanation] = {
    Reason.NO_READY_ENDPOINTS: Explanation(
        "No route has a ready pod: connections are closed.",
        "The pods crash, do not pass their readiness probe, or were scaled to 0.",
        "Make pods of a route ready, or give weight to a route that has ready pods.",
        (Phase.DEGRADED,),
    ),
    Reason.ROUTE_WITHOUT_ENDPOINTS: Explanation(
        "A route with a weight has no ready pod. `spec.onEmptyRoute` decides what happens to its share.",
        "The pods crash, do not pass their readiness probe, or were scaled to 0.",
        "Make a pod of the route ready, or set its weight to 0.",
        (Phase.DEGRADED,),
    ),
    Reason.ROUTE_UNREACHABLE: Explanation(
        "A route has ready pods, and for 10 s no health check of any proxy has passed (only with Live).",
        "The pods do not listen on the port of the route, or a NetworkPolicy forbids connections from the proxies.",
        "Check `targetPort` of the Service and the NetworkPolicies of the pods. `kanary get NAME` has HAProxy's words.",
        (Phase.DEGRADED,),
    ),
    Reason.PROGRESS_DEADLINE_EXCEEDED: Explanation(
        "Not all proxies serve the latest change in time; the others keep the previous configuration.",
        "Proxies cannot be scheduled or started, or do not load the configuration; the message has what is known.",
        "Fix the cause, or change the spec. Kanary continues as soon as the proxies serve the change.",
        (Phase.DEGRADED,),
    ),
    Reason.REJECTED_BY_CLUSTER: Explanation(
        "The API server rejects an object that Kanary has to write. The proxies keep their configuration.",
        "A quota, an admission webhook, a policy or missing rights of the operator; the message quotes the API server.",
        "Fix what the message names. Kanary retries every 30 s.",
        (Phase.DEGRADED,),
    ),
    Reason.REJECTED_BY_HAPROXY: Explanation(
        "HAProxy rejects the configuration. The proxies keep the previous one.",
        "`spec.proxy.image` has a HAProxy that is too old, or an option that it does not know.",
        "Set `spec.proxy.image` to an image with HAProxy 3.0 or later, or change what the message names.",
        (Phase.DEGRADED,),
    ),
    Reason.PROXIES_EXHAUSTED: Explanation(
        "A proxy has reached its limit of connections, cannot hold `spec.proxy.maxConnections`, has no free source "
        "ports to a pod, or ran out of memory: new connections wait, or connections were dropped. Or HAProxy processes "
        "of earlier reloads take so much memory that a container will run out of it.",
        "The proxies are too few or too small for this traffic, or their limits are too low. Or settings change often, "
        "and connections last long.",
        "Follow the message: more replicas, connections or memory. An OOMKilled container is reported for 10 minutes.",
        (Phase.DEGRADED,),
    ),
}

_PROGRESS: Mapping[str, Explanation] = {
    Reason.CONFIGURATION_CHANGED: Explanation(
        "New weights or settings are recorded before the proxies receive them.",
        "The spec or a step of a rollout has changed, or a route is empty now or has endpoints again.",
        NOTHING,
        (Phase.RENDERING,),
    ),
    Reason.REPLACING_PROXIES: Explanation(
        "The proxies are replaced, although `spec.updateStrategy` is Live. Established connections drain.",
        "Running proxies did not load a configuration within 15 s, or have many HAProxy processes of earlier reloads, "
        "which serve connections from before them, or open files that ended ones have left; the message names one.",
        "None for now. If it repeats, see the log of the container `agent` of that proxy, or change settings less "
        "often.",
        (Phase.RENDERING,),
    ),
    Reason.ROLLING_OUT: Explanation(
        "The proxies load a change, or are replaced. Connections are split by the previous weights until then.",
        "The configuration has changed, or proxies were replaced.",
        "None: if it lasts, the message names the proxy. After the progress deadline the Kanary is Degraded.",
        (Phase.ROLLING,),
    ),
    Reason.SERVING: Explanation(
        "Every proxy serves exactly the declared weights. Changes of pods show in the counts only.",
        "All changes are served.",
        "None.",
        (Phase.READY,),
    ),
}

_EVENTS: Mapping[str, Explanation] = {
    EventReason.WEIGHTS_CHANGED: Explanation(
        "Every proxy serves other weights than before.",
        "The spec or a step of a rollout has changed the weights; the message has both.",
        "None. `kanary history NAME` shows who changed them, and why.",
    ),
    EventReason.POD_EJECTED: Explanation(
        "A pod receives no connections for a while. At most half of the pods of a route are ejected at a time.",
        "The pod resets connections that it has accepted.",
        "See `kanary get NAME` for the failed connections with their pod, and the log of the pod.",
    ),
    EventReason.DESTINATION_REVERTED: Explanation(
        "The adopted destination Service was switched to the proxies again.",
        "Somebody changed its selector or a target port, such as by `kubectl apply` of its former manifest. A "
        "client-side apply leaves a selector that no pod has, so that connections fail for a moment.",
        "Take `selector` and `targetPort` out of its manifest, or have the GitOps controller ignore them. To end the "
        "adoption, delete the Kanary or set `spec.adoptDestination` to false.",
    ),
    EventReason.REPLICAS_REVERTED: Explanation(
        "The Deployment of the proxies was scaled. Kanary has set the number of `spec.proxy.replicas` again.",
        "A HorizontalPodAutoscaler or `kubectl scale` that names the Deployment.",
        "Scale the Kanary: `kubectl scale ky/NAME`, or in the `scaleTargetRef` of the autoscaler apiVersion "
        "`kanary.k8s.io/v1`, kind `Kanary`.",
    ),
}

_CONDITIONS: Mapping[str, Explanation] = {
    ConditionReason.RECONCILE_FAILED: Explanation(
        "The operator fails to reconcile this Kanary: the condition Ready is Unknown. The proxies keep serving.",
        "A defect of the operator; the message has the error.",
        "See the log of the operator and report the error. The operator retries.",
    ),
    ConditionReason.COPY_STALE: Explanation(
        "The operator cannot follow the objects of a kind: the condition Ready is Unknown. The proxies keep serving. "
        "Changes of other kinds are still made, unless the operator has not read this one since it started.",
        "The operator lacks the right that the message names, or the API server has failed to answer for 30 s.",
        "Grant the right as in `manifests/base/rbac.yaml`, or see why the API server fails. The operator retries.",
    ),
    ConditionReason.RECORDED: Explanation("The history records every change.", "The history database works.", "None."),
    ConditionReason.ENTRIES_LOST: Explanation(
        "The history lacks entries of this Kanary; `status.history.lost` counts them. Later ones are recorded.",
        "The database was unavailable for more entries than the status of the Kanary has room for (50 kB).",
        "A cluster admin acknowledges it, which makes the condition True again (the right to patch `kanaries/status` "
        "is not in `kanary-edit`): `kubectl patch ky NAME "
        """--subresource=status --type=merge -p '{"status": {"history": {"lost": 0}}}'`.""",
    ),
    ConditionReason.DISABLED: Explanation(
        "The history is disabled.",
        "`KANARY_HISTORY_URL` is empty.",
        "None, or set `KANARY_HISTORY_URL`.",
    ),
}

CATALOGUE: Mapping[str, Mapping[str, Explanation]] = {
    "The spec cannot be applied": _SPEC,
    "Something has to exist first": _WAITING,
    "Something has failed": _FAILED,
    "Rollouts by steps": ROLLOUT_REASONS,
    "Progress and success": _PROGRESS,
    "Events only": _EVENTS,
    "Conditions only": _CONDITIONS,
}
"""The explanation of each reason, by a heading."""
