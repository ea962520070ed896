//! What every backend asks of a group before it takes it, so that all answer alike.

use affinity_types::control::Control;
use affinity_types::{Epoch, Group, RecordKind, Sequence};

use crate::{AppendError, Limits};

/// Whether a writer under `epoch`, whose last group taken was `last`, may take `group`: see
/// [`Writer::append`](crate::Writer::append). Whether there is room for it ([`AppendError::Full`]) and whether the writer
/// still lives ([`AppendError::Lost`]) is for the backend to say.
///
/// # Errors
/// [`AppendError::Invalid`] and [`AppendError::TooLarge`].
pub(crate) fn check(
    group: &Group,
    epoch: Epoch,
    last: Option<Sequence>,
    limits: &Limits,
) -> Result<(), AppendError> {
    if let Some(reason) = fault(group, epoch, last) {
        return Err(AppendError::Invalid(reason));
    }
    let (bytes, max) = (group.payload_bytes(), limits.group_bytes_max);
    if bytes > max { Err(AppendError::TooLarge { bytes, max }) } else { Ok(()) }
}

fn fault(group: &Group, epoch: Epoch, last: Option<Sequence>) -> Option<&'static str> {
    if epoch == Epoch::NONE {
        return Some("epoch 0 is no mastership: nobody writes under it");
    }
    if group.version.epoch != epoch {
        return Some("the group is of another epoch than its writer");
    }
    if group.records.is_empty() {
        return Some("a group has at least one record");
    }
    if group.records.len() > Group::RECORDS_MAX {
        return Some("the group has more records than a group may have");
    }
    match last {
        None if !is_barrier(group, epoch) => Some("a writer's first group is the barrier of its epoch"),
        Some(last) if group.version.sequence <= last => Some("the sequences of an epoch strictly increase"),
        _ => None,
    }
}

/// Whether a group begins with the barrier of `epoch`.
fn is_barrier(group: &Group, epoch: Epoch) -> bool {
    let barrier = |key: &[u8]| Control::parse(key).ok().and_then(|control| control.barrier_epoch());
    let first = group.records.first().filter(|record| record.kind == RecordKind::Control);
    first.and_then(|record| barrier(&record.key)) == Some(epoch)
}

#[cfg(test)]
mod tests {
    use affinity_types::{Attributes, EventTime, Key, Record, Version, control};

    use super::*;

    const LIMITS: Limits = Limits { group_bytes_max: 64, in_flight_max: 1 };

    fn group(epoch: u64, sequence: u64, records: usize, bytes: usize) -> Group {
        let record = Record::new(Key::from_static(b""), Some(vec![0; bytes].into()));
        Group {
            version: Version::new(Epoch(epoch), Sequence(sequence)),
            time: EventTime(0),
            attributes: Attributes::default(),
            records: vec![record; records],
        }
    }

    fn barrier(epoch: u64) -> Group {
        control::barrier_group(Epoch(epoch), EventTime(0), 300, 1)
    }

    #[test]
    fn a_group_is_taken_only_as_the_contract_asks_for_it() {
        let not_control = {
            let mut group = barrier(3);
            group.records[0].kind = RecordKind::Main;
            group
        };
        let other_barrier = Group { version: Version::new(Epoch(3), Sequence(0)), ..barrier(2) };
        let started = Some(Sequence(4));
        for (what, group, last, taken) in [
            ("a barrier first", barrier(3), None, true),
            ("the next group", group(3, 5, 1, 8), started, true),
            ("a gap in the sequence", group(3, 9, 1, 8), started, true),
            ("as many bytes as allowed", group(3, 5, 1, 64), started, true),
            ("as many records as allowed", group(3, 5, Group::RECORDS_MAX, 0), started, true),
            ("no barrier first", group(3, 0, 1, 8), None, false),
            ("a barrier of another epoch first", other_barrier, None, false),
            ("a barrier among the main records", not_control, None, false),
            ("another epoch", group(2, 5, 1, 8), started, false),
            ("the same sequence", group(3, 4, 1, 8), started, false),
            ("no records", group(3, 5, 0, 0), started, false),
            ("too many records", group(3, 5, Group::RECORDS_MAX + 1, 0), started, false),
        ] {
            let answer = check(&group, Epoch(3), last, &LIMITS);
            assert_eq!(answer.is_ok(), taken, "{what}: {answer:?}");
            assert!(taken || matches!(answer, Err(AppendError::Invalid(_))), "{what}: {answer:?}");
        }
        assert!(check(&barrier(0), Epoch(0), None, &LIMITS).is_err(), "epoch 0 is of strangers");
    }

    #[test]
    fn a_group_over_the_limit_is_told_its_size() {
        let answer = check(&group(3, 5, 5, 13), Epoch(3), Some(Sequence(4)), &LIMITS);
        assert_eq!(answer, Err(AppendError::TooLarge { bytes: 65, max: 64 }));
    }
}
