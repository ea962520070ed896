use proptest::prelude::*;

use super::*;
use crate::Key;

/// The bytes of a format that is on people's disks and topics: they never change.
#[test]
fn the_bytes_of_a_header_are_settled() {
    let request = Request {
        id: RequestId { client: 0x0102, sequence: 300, issued: Some(EventTime(1000)) },
        hash: 7,
        result: Bytes::from_static(b"ok"),
    };
    let positions = vec![InputPosition { input: "in".into(), offset: Offset(9) }];
    let mut group = Vec::new();
    put_group_attributes(&mut group, &Attributes { request: Some(request), positions });
    let mut record = Vec::new();
    let repairs = Some(Version::new(Epoch(2), Sequence(5)));
    let plain = Record::new(Key::from_static(b"k"), None);
    put_record_attributes(
        &mut record,
        &Record { event_time: Some(EventTime(-1)), expires: Some(EventTime(64)), repairs, ..plain },
    );
    let header = RecordHeader {
        kind: RecordKind::Store,
        version: Version::new(Epoch(3), Sequence(128)),
        index: 1,
        count: 2,
        record_attributes: &record,
        group_attributes: &group,
    };
    let mut bytes = Vec::new();
    header.put(&mut bytes);
    let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(
        hex,
        [
            "010103800101020b",                                                   // header
            "0102800102010103020205",                                             // attributes of the record
            "011f020100000000000000000000000000000700000000000000ac0201d00f6f6b", // the request
            "030309696e",                                                         // the position
        ]
        .concat()
    );
}

fn time() -> impl Strategy<Value = Option<EventTime>> {
    proptest::option::of(any::<i64>().prop_map(EventTime))
}

prop_compose! {
    fn attributes()(
        request in proptest::option::of((any::<u128>(), any::<u64>(), time(), any::<u64>(), any::<Vec<u8>>())),
        positions in proptest::collection::vec((".{0,9}", any::<u64>()), 0..3),
    ) -> Attributes {
        Attributes {
            request: request.map(|(client, sequence, issued, hash, result)| Request {
                id: RequestId { client, sequence, issued },
                hash,
                result: result.into(),
            }),
            positions: positions
                .into_iter()
                .map(|(input, offset)| InputPosition { input, offset: Offset(offset) })
                .collect(),
        }
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(
        group in attributes(), event_time in time(), expires in time(), repairs in any::<Option<(u64, u64)>>(),
        epoch in any::<u64>(), sequence in any::<u64>(), index in 0u16..9,
    ) {
        let repairs = repairs.map(|(e, s)| Version::new(Epoch(e), Sequence(s)));
        let plain = Record::new(Key::default(), None);
        let record = Record { event_time, expires, repairs, ..plain };
        let (mut of_group, mut of_record, mut bytes) = (Vec::new(), Vec::new(), Vec::new());
        put_group_attributes(&mut of_group, &group);
        put_record_attributes(&mut of_record, &record);
        let header = RecordHeader {
            kind: RecordKind::Control,
            version: Version::new(Epoch(epoch), Sequence(sequence)),
            index,
            count: index + 1,
            record_attributes: &of_record,
            group_attributes: &of_group,
        };
        header.put(&mut bytes);
        let read = RecordHeader::parse(&bytes).unwrap();
        prop_assert_eq!(read, header);
        prop_assert_eq!(group_request_id(read.group_attributes).unwrap(), group.request.as_ref().map(|r| r.id));
        prop_assert_eq!(group_attributes(read.group_attributes).unwrap(), group);
        prop_assert_eq!(
            record_attributes(read.record_attributes).unwrap(),
            RecordAttributes { event_time, expires, repairs }
        );
    }

    #[test]
    fn any_bytes_are_an_answer_or_an_error(bytes in any::<Vec<u8>>()) {
        let _ = RecordHeader::parse(&bytes);
        let _ = group_attributes(&bytes);
        let _ = record_attributes(&bytes);
        let _ = group_request_id(&bytes);
    }
}

#[test]
fn an_unknown_even_attribute_is_skipped_and_an_odd_one_refused() {
    let mut even = Vec::new();
    put_attribute(&mut even, 40, b"later");
    assert_eq!(group_attributes(&even), Ok(Attributes::default()));
    assert_eq!(record_attributes(&even), Ok(RecordAttributes::default()));
    let mut odd = Vec::new();
    put_attribute(&mut odd, 41, b"later");
    assert_eq!(group_attributes(&odd), Err(WireError::UnknownAttribute { what: "group", tag: 41 }));
    assert_eq!(record_attributes(&odd), Err(WireError::UnknownAttribute { what: "record", tag: 41 }));
}

#[test]
fn a_header_of_a_newer_version_is_refused() {
    assert_eq!(RecordHeader::parse(&[2, 0]), Err(WireError::UnknownVersion(2)));
    assert_eq!(RecordHeader::parse(&[]), Err(WireError::Malformed("record header")));
}
