"""Preflight of Pub/Sub: the subscription that is read, and what keeps the dead letters."""

from datetime import timedelta
from typing import Any

from pipeline import refusals
from pipeline.questions import Inquiry
from pipeline.refusals import Refusal
from schemas import live
from schemas.problem import Problem

LEAST_RETENTION = timedelta(days=1)
"""What outlives a night's outage, and Eventarc's own retries (a day). The default is 7 days:
https://cloud.google.com/pubsub/docs/subscription-properties"""

_DELETED = "_deleted-topic_"
_NEVER = timedelta()
_MOST_READ = 20
"""So many subscriptions of the dead letters are read, to find one that keeps them."""

_VIEWER = "roles/pubsub.viewer"
_WANTED = {
    "subscriptions": ("pubsub.subscriptions.consume", "roles/pubsub.subscriber"),
    "topics": ("pubsub.topics.publish", "roles/pubsub.publisher"),
}
"""What the job does to a resource of a kind, and the role that lets it."""
_EXPORTS = (
    ("bigquery_config", "BigQuery"),
    ("cloud_storage_config", "Cloud Storage"),
    ("bigtable_config", "Bigtable"),
)


def check_input(inquiry: Inquiry, name: str, *, rights: bool) -> str:
    """The subscription that the job reads, and its topic.

    Args:
        inquiry: Is told what is found.
        name: The subscription's full name.
        rights: Whether the account that asks is the one that will read.

    Returns:
        The topic; '' when there is no telling.
    """
    where = f"--input_subscription {name}"
    client = live.subscriber_client()
    found = inquiry.ask(
        where,
        lambda seconds: client.get_subscription(subscription=name, timeout=seconds, retry=None),
        absent=refusals.SUBSCRIPTION_MISSING.at(where),
        role=_VIEWER,
    )
    if found is None:
        return ""
    problems = subscription_problems(found, where)
    for problem in problems:
        inquiry.refuse(problem)
    if not problems:
        kept = length(found.message_retention_duration)
        inquiry.checked(f"{where}: reads {found.topic}, keeps messages for {kept}")
    topic = str(found.topic)
    if topic != _DELETED and not found.detached:
        _check_topic_of(inquiry, where, name, topic)
    if rights:
        _check_rights(inquiry, where, client, name)
    return "" if topic == _DELETED else topic


def subscription_problems(found: Any, where: str) -> list[Problem]:
    """What in a subscription's settings would lose or double what the job reads from it.

    An ack deadline cannot be too short: the least that Pub/Sub takes is 10 s, and the job extends
    its leases. A retry policy, labels, and keeping acknowledged messages do no harm.

    Args:
        found: A `google.pubsub_v1.types.Subscription`.
        where: What it is called in what is said.
    """
    if found.topic == _DELETED:
        return [refusals.TOPIC_DELETED.at(where)]
    if found.detached:
        return [refusals.DETACHED.at(where)]
    kept, ttl, policy = found.message_retention_duration, _ttl(found), found.dead_letter_policy
    refused: tuple[tuple[Refusal, object, dict[str, object]], ...] = (
        (refusals.RETENTION, kept < LEAST_RETENTION, {"kept": length(kept)}),
        (refusals.EXPIRATION, ttl, {"ttl": length(ttl or _NEVER)}),
        (refusals.FILTER, found.filter, {"filter": found.filter}),
        (
            refusals.DEAD_LETTER_POLICY,
            policy,
            # 5 stands for 0, the reference says.
            {"attempts": policy.max_delivery_attempts or 5, "topic": policy.dead_letter_topic},
        ),
        (refusals.EXACTLY_ONCE, found.enable_exactly_once_delivery, {}),
        (refusals.ORDERING, found.enable_message_ordering, {}),
        (refusals.EXPORT, _exported_to(found), {"to": _exported_to(found)}),
        (refusals.TRANSFORM, _transforms(found), {"kinds": _transforms(found)}),
    )
    return [
        refusal.at(where, name=found.name, **words) for refusal, is_so, words in refused if is_so
    ]


def _check_topic_of(inquiry: Inquiry, where: str, name: str, topic: str) -> None:
    """The input's topic, which may be another project's and closed to the job."""
    client = live.publisher_client()
    missing = refusals.NOT_ON_TOPIC.at(where, topic=topic)
    found = inquiry.ask(
        f"topic {topic}",
        lambda seconds: client.get_topic(topic=topic, timeout=seconds, retry=None),
        absent=missing,
        role=_VIEWER,
        needed=False,
    )
    if found is None:
        return
    if kinds := _transforms(found):
        inquiry.refuse(refusals.TOPIC_TRANSFORM.at(where, topic=topic, kinds=kinds))
    names = inquiry.ask(
        f"topic {topic}, subscriptions",
        lambda seconds: list(
            client.list_topic_subscriptions(topic=topic, timeout=seconds, retry=None)
        ),
        absent=missing,
        role=_VIEWER,
        needed=False,
    )
    if names is not None and name not in names:
        inquiry.refuse(missing)


def check_dead_letters(inquiry: Inquiry, topic: str, read: str, *, rights: bool) -> None:
    """The topic of the dead letters, and whether a subscription keeps them.

    Args:
        inquiry: Is told what is found.
        topic: Its full name.
        read: The subscription that the job reads; '' for none.
        rights: Whether the account that asks is the one that will publish.
    """
    where = f"--dead_letter_topic {topic}"
    missing = refusals.DEAD_LETTERS_MISSING.at(where)
    client = live.publisher_client()
    # First the topic: the emulator lists no subscription of one that is missing, and no error.
    found = inquiry.ask(
        where,
        lambda seconds: client.get_topic(topic=topic, timeout=seconds, retry=None),
        absent=missing,
        role=_VIEWER,
    )
    if found is None:
        return
    if kinds := _transforms(found):
        inquiry.refuse(refusals.DEAD_LETTERS_TRANSFORM.at(where, topic=topic, kinds=kinds))
    if schema := found.schema_settings.schema:
        inquiry.refuse(refusals.DEAD_LETTERS_SCHEMA.at(where, topic=topic, schema=schema))
    names = inquiry.ask(
        f"{where}, subscriptions",
        lambda seconds: list(
            client.list_topic_subscriptions(topic=topic, timeout=seconds, retry=None)
        ),
        absent=missing,
        role=_VIEWER,
    )
    if names == []:
        inquiry.refuse(refusals.DEAD_LETTERS_UNSUBSCRIBED.at(where))
    elif names:
        _check_kept(inquiry, where, names, read)
    if rights:
        _check_rights(inquiry, where, client, topic)


def _check_kept(inquiry: Inquiry, where: str, names: list[str], read: str) -> None:
    """Whether one of the subscriptions keeps every letter for a while."""
    client = live.subscriber_client()
    reasons = []
    unknown = False
    for name in names[:_MOST_READ]:
        if name == read:
            reasons.append(f"{name} is the one that the job reads")
            continue
        found = inquiry.ask(
            f"subscription {name}",
            lambda seconds, name=name: client.get_subscription(  # type: ignore[misc]
                subscription=name, timeout=seconds, retry=None
            ),
            absent=Problem(f"subscription {name}", "was deleted meanwhile", "start again"),
            role=_VIEWER,
            needed=False,
        )
        if found is None:
            unknown = True
        elif reason := why_not_kept(found):
            reasons.append(f"{name} {reason}")
        else:
            kept = length(found.message_retention_duration)
            inquiry.checked(f"{where}: {name} keeps letters for {kept}")
            return
    if not unknown and len(names) <= _MOST_READ:
        text = "; ".join(reasons)
        inquiry.refuse(refusals.DEAD_LETTERS_NOT_KEPT.at(where, reasons=text))
    else:
        inquiry.note(where, f"no subscription is known to keep every letter: {'; '.join(reasons)}")


def why_not_kept(found: Any) -> str:
    """Why a subscription does not keep every letter until somebody reads it; '' where it does.

    Args:
        found: A `google.pubsub_v1.types.Subscription`.
    """
    if found.topic == _DELETED or found.detached:
        return "is detached"
    if found.filter:
        return f"has the filter {found.filter!r}"
    if kinds := _transforms(found):
        return f"has a transform ({kinds})"
    if ttl := _ttl(found):
        return f"is deleted when nobody reads it for {length(ttl)}"
    if found.message_retention_duration < LEAST_RETENTION:
        return f"keeps them for {length(found.message_retention_duration)} only"
    return ""


def length(time: timedelta) -> str:
    """A length of time in the largest unit that it has whole: `7 days`, `90 minutes`."""
    seconds = int(time.total_seconds())
    for unit, size in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        if seconds and seconds % size == 0:
            count = seconds // size
            return f"{count} {unit}{'s' if count != 1 else ''}"
    return f"{seconds} s"


def _ttl(found: Any) -> timedelta | None:
    """After how long without use it is deleted; None for never."""
    return found.expiration_policy.ttl or None


def _exported_to(found: Any) -> str:
    """Where its messages are pushed, instead of being pulled; '' for nowhere."""
    if found.push_config.push_endpoint:
        return str(found.push_config.push_endpoint)
    return next((name for field, name in _EXPORTS if field in found), "")


def _transforms(found: Any) -> str:
    """The kinds of the transforms of a topic or subscription that are in force."""
    return ", ".join(
        type(each).pb(each).WhichOneof("transform") or "unknown"
        for each in found.message_transforms
        if not each.disabled
    )


def _check_rights(inquiry: Inquiry, where: str, client: Any, resource: str) -> None:
    wanted, role = _WANTED[resource.split("/")[2]]
    request = {"resource": resource, "permissions": [wanted]}
    inquiry.rights(
        where,
        lambda seconds: (
            client.test_iam_permissions(request=request, timeout=seconds, retry=None).permissions
        ),
        [wanted],
        role,
    )
