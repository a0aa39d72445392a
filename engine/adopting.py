"""Whether the destination of a Kanary is a Service of others, and when that is switched to the proxies.

It is switched when all proxies serve, and not before the Kanary has the finalizer, so that it becomes what it was
before the proxies are deleted. Each step is one write, and the next one depends only on what the cluster has.
"""

from engine.model.spec import KIND, KanarySpec
from engine.observe import Observed, owner_of
from engine.ports import ClusterView, ClusterWriter, Json, RejectedError, RetryLaterError
from engine.render.adoption import FINALIZER, PROXY_PORT, adopter, adoption_of, adoption_problem, write_problem
from engine.render.objects import KANARY_LABEL, Identity, identity_of, is_ours
from engine.render.slots import Slots, backends_by_slot, listening_port
from engine.resolve.intent import destination_problems
from engine.resolve.validation import InvalidSpecError, read_spec
from states import Problem, Reason

CONTESTED = frozenset({Reason.DESTINATION_EXISTS, Reason.DESTINATION_NOT_ADOPTABLE, Reason.DESTINATION_TAKEN})


def foreign_destination(observed: Observed, spec: KanarySpec) -> Json | None:
    """The Service of the destination, as others have made it; None if Kanary has."""
    known = observed.destinations.get(spec.destination)
    service = known.service if known else None
    doors = observed.written.applied.doors if observed.written.applied else ()
    theirs = _as_theirs(service, observed.owner, spec, doors)
    # What Kanary has created leads to the proxies, unless it is switched now.
    is_kept = theirs is None or theirs is service or may_switch(observed, spec, theirs)
    return theirs if is_kept else None


def _as_theirs(service: Json | None, owner: Identity, spec: KanarySpec, doors: Slots = ()) -> Json | None:
    """The Service without what is ours, if others have made it, or have applied their manifest to ours.

    They deleted the adopted one, and Kanary was faster than they to create it again. A manifest without target ports
    leaves ours, which their pods do not have. The numbers of others may be theirs, if it has the first one.
    """
    if service is None or not is_ours(service, owner.uid, owner.labels):
        return service
    declared = service["spec"]
    selector = {key: text for key, text in (declared.get("selector") or {}).items() if key != KANARY_LABEL}
    ports = declared.get("ports") or ()
    if any(port.get("targetPort") == PROXY_PORT for port in ports):
        ours = PROXY_PORT, *(listening_port(name, doors) for name in backends_by_slot(doors))
        ports = [{**port, "targetPort": port["port"]} if port.get("targetPort") in ours else port for port in ports]
    metadata = {**service["metadata"], "ownerReferences": []}
    theirs = {**service, "metadata": metadata, "spec": {**declared, "selector": selector, "ports": ports}}
    return theirs if spec.adopt_destination and not adoption_problem(spec, theirs) else None


def is_adopted(observed: Observed, service: Json) -> bool:
    """Whether the Kanary has switched this Service to its proxies."""
    return adopter(service) == observed.owner.uid


def may_switch(observed: Observed, spec: KanarySpec, service: Json) -> bool:
    """Whether the spec adopts this Service, and it can be adopted."""
    if FINALIZER not in (observed.kanary["metadata"].get("finalizers") or ()):
        return False
    if is_adopted(observed, service):
        # Whatever is wrong with the spec or with another port: its clients connect to the proxies.
        return not is_withdrawn(observed, service) and not write_problem(service)
    declared = observed.intent.spec
    if declared is None or declared.paused or declared.destination != spec.destination:
        return False
    is_contested = any(problem.reason in CONTESTED for problem in observed.intent.problems)
    return declared.adopt_destination and not is_contested and not adoption_problem(spec, service)


def is_withdrawn(observed: Observed, service: Json) -> bool:
    """Whether the user has taken back the consent for a Service that was adopted."""
    declared, name = observed.intent.spec, service["metadata"]["name"]
    is_declared = declared is not None and not declared.paused and declared.destination == name
    return bool(adopter(service)) and is_declared and not (declared and declared.adopt_destination)


def check_owner(live: Json, desired: Json) -> None:
    """Raise RejectedError if the object in the cluster is another's, and RetryLaterError if it is about to be gone."""
    owners, owner = live["metadata"].get("ownerReferences") or (), identity_of(desired)
    # A Service to be switched to proxies has not got another owner since it was read.
    may_adopt = bool(adopter(desired)) and {each.get("uid") for each in owners} <= {adopter(desired)}
    if may_adopt or is_ours(live, owner.uid, owner.labels):
        return
    kind, name = desired["kind"], desired["metadata"]["name"]
    kanary = owner.name or adoption_of(desired).kanary
    if any((each.get("kind"), each.get("name")) == (KIND, kanary) for each in owners):
        raise RetryLaterError(f"{kind} {name} of a deleted Kanary with this name is being deleted")
    text = (
        f'{kind} "{name}" exists and does not belong to this Kanary: '
        "delete or rename it, or create the Kanary under another name"
    )
    raise RejectedError(Problem(Reason.OBJECT_EXISTS, text))


def with_finalizer(view: ClusterView, writer: ClusterWriter, kanary: Json) -> tuple[Json, RejectedError | None]:
    """The Kanary, with the finalizer if it needs one, and without if it does not, unless that is rejected.

    A Kanary that is being deleted gives back what it has adopted at first. If something is rejected, the proxies must
    go on: a Service leads to them for longer, or other clients do. Raises RetryLaterError.
    """
    try:
        return _with_finalizer(view, writer, kanary), None
    except RejectedError as error:
        return kanary, error


def _with_finalizer(view: ClusterView, writer: ClusterWriter, kanary: Json) -> Json:
    metadata = kanary["metadata"]
    namespace, uid = metadata["namespace"], metadata["uid"]
    has, is_deleted = FINALIZER in (metadata.get("finalizers") or ()), bool(metadata.get("deletionTimestamp"))
    known = any(adopter(each) == uid for each in view.owned_by(namespace, uid))
    needs = not is_deleted and (known or _wants(view, kanary))
    if needs:
        return kanary if has else writer.set_finalizer(kanary, FINALIZER, is_present=True)
    # The watch may lag behind: a Service must not lead to proxies that are deleted.
    adopted = view.adopted_by(namespace, uid) if has or known else ()
    if adopted and not is_deleted:
        return kanary
    for service in adopted:
        writer.give_back(service)
    return writer.set_finalizer(kanary, FINALIZER, is_present=False) if has else kanary


def require_finalizer(view: ClusterView, kanary: Json) -> None:
    """Raise RetryLaterError if the destination has become adoptable since `with_finalizer`.

    Without the finalizer, the Service would count as Kanary's own: what others have applied to it would be lost.
    """
    if FINALIZER not in (kanary["metadata"].get("finalizers") or ()) and _wants(view, kanary):
        raise RetryLaterError(f"Service {kanary['spec']['destination']} was changed during the reconcile")


def _wants(view: ClusterView, kanary: Json) -> bool:
    """Whether the spec adopts a Service that exists and can be adopted."""
    declared = kanary.get("spec")
    if not isinstance(declared, dict) or declared.get("adoptDestination") is not True:
        return False
    owner = owner_of(kanary)
    try:
        spec = read_spec(kanary)
    except InvalidSpecError:
        return False
    service = view.service(owner.namespace, spec.destination)
    if _as_theirs(service, owner, spec) is None:
        return False
    return not any(destination_problems(view, owner, kanary, spec))
