//! The fuzz targets over inputs made from seeds, for a bounded time.
//!
//! Most inputs are good ones with a few things wrong, since what is wrong from the start is refused at the start.

#[path = "../fuzz/targets.rs"]
mod targets;
#[expect(dead_code, reason = "schemas are parsed by the target")]
mod vectors;

use affinity_avro::{Error, JsonForm, Limits, Record, Schema, Value};
use targets::{Tree, WRITERS};
use vectors::{cases, hex, text};

/// Inputs of each target.
const ROUNDS: u64 = 20_000;

/// A source of chance that a seed repeats: SplitMix64.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let sides = u64::try_from(sides.max(1)).expect("sides are few");
        usize::try_from((mixed ^ (mixed >> 31)) % sides).expect("less than the sides")
    }

    /// A byte, rather one that means something in a varint or a text.
    fn byte(&mut self) -> u8 {
        const LIKELY: &[u8] =
            &[0, 1, 2, 3, 4, 0x7f, 0x80, 0xff, 0xfe, b'"', b'{', b'}', b'[', b']', b',', b'1', b'\\', 0x0a];
        if self.roll(2) == 0 {
            LIKELY[self.roll(LIKELY.len())]
        } else {
            u8::try_from(self.roll(256)).expect("a byte")
        }
    }

    /// `data` with some things wrong.
    fn spoil(&mut self, mut data: Vec<u8>) -> Vec<u8> {
        for _ in 0..self.roll(4) {
            let (from, to) = (self.roll(data.len() + 1), self.roll(data.len() + 1));
            let (from, to) = (from.min(to), from.max(to));
            match self.roll(5) {
                0 => data.truncate(from),
                1 => drop(data.drain(from..to)),
                2 => data.insert(from, self.byte()),
                3 => {
                    let twice = data[from..to].to_vec();
                    data.splice(to..to, twice);
                }
                _ => {
                    let byte = self.byte();
                    if let Some(place) = data.get_mut(from) {
                        *place = byte;
                    }
                }
            }
            data.truncate(1 << 15);
        }
        data
    }

    fn pick<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.roll(list.len())]
    }
}

/// Runs a target over inputs made of seeds; the seed of one that fails is told. Some have to be values, or the run says nothing.
fn run(make: impl Fn(&mut Dice) -> Vec<u8>, target: fn(&[u8]) -> bool) {
    let mut values = 0;
    for seed in 0..ROUNDS {
        let data = make(&mut Dice(seed << 20));
        match std::panic::catch_unwind(|| target(&data)) {
            Ok(is_value) => values += u64::from(is_value),
            Err(_) => panic!("seed {seed}, {} bytes: {data:02x?}", data.len()),
        }
    }
    assert!((ROUNDS / 10..ROUNDS * 9 / 10).contains(&values), "{values} of {ROUNDS} inputs are values");
}

/// Trees, in JSON.
const TREES: [&str; 3] = [
    r#"{"value":-3,"name":"n\u00e9\n","kind":"B","left":null,"children":[],"nothing":[null,null],"choice":null,"raw":"AAEC","ratio":1.5}"#,
    r#"{"value":9007199254740993,"name":"","kind":"A","left":{"value":1,"name":"x","kind":"A","left":null,"children":[],"nothing":[],
        "choice":{"long":4},"raw":"","ratio":-0.0,"small":1,"flags":[]},"children":[{"value":1,"name":"x","kind":"A","left":null,
        "children":[],"nothing":[],"choice":{"string":"s"},"raw":"","ratio":"NaN"}],"nothing":[],"choice":{"Hash":"AAEC"},"raw":"","ratio":1e300}"#,
    "{}",
];

/// What older writers wrote, by the number of the writer.
const OLDER: [(u8, &str); 2] = [
    (
        0,
        r#"{"gone":[null],"kind":"C","value":3,"name":"AAEC","left":null,"children":[],"choice":{"bytes":"AEE="},"nothing":[null],"raw":"r",
        "ratio":{"long":4}}"#,
    ),
    (
        1,
        r#"{"nothing":[],"ratio":3,"skipped":{"a":[{},{}],"b":[]},"choice":null,"raw":"AAEC","value":4,"name":"n","kind":"B",
        "left":{"nothing":[],"ratio":3,"skipped":{},"choice":null,"raw":"","value":4,"name":"n","kind":"B","left":null,"children":[]},
        "children":[]}"#,
    ),
];

fn trees() -> Vec<Vec<u8>> {
    TREES.iter().filter_map(|json| Tree::from_json(json).ok()).map(|tree| tree.to_avro()).collect()
}

/// The inputs of `targets::resolve` that are values.
fn older() -> Result<Vec<Vec<u8>>, Error> {
    let encode = |(number, json): &(u8, &str)| {
        let schema = Schema::parse(WRITERS[usize::from(*number)])?;
        let mut bytes = vec![*number];
        Value::from_json(json, &schema, JsonForm::Plain, &Limits::DEFAULT)?.encode(&schema, &mut bytes)?;
        Ok(bytes)
    };
    OLDER.iter().map(encode).collect()
}

#[test]
fn any_bytes_are_a_value_or_an_error() {
    let trees = trees();
    assert_eq!(trees.len(), 2);
    run(
        |dice| {
            let tree = dice.pick(&trees).clone();
            dice.spoil(tree)
        },
        targets::decode,
    );
}

#[test]
fn any_bytes_of_an_older_writer_are_a_value_or_an_error() {
    let older = older().unwrap();
    run(
        |dice| {
            let bytes = dice.pick(&older).clone();
            dice.spoil(bytes)
        },
        targets::resolve,
    );
}

#[test]
fn any_text_is_a_value_or_an_error() {
    run(
        |dice| {
            let json = dice.pick(&TREES).as_bytes().to_vec();
            dice.spoil(json)
        },
        targets::json,
    );
}

#[test]
fn any_text_is_a_schema_or_an_error() {
    let cases = cases(include_str!("vectors/avro_resolve.jsonl"));
    let make = |dice: &mut Dice| {
        let case = dice.pick(&cases);
        let (writer, reader) =
            (text(case, "writer").as_bytes().to_vec(), text(case, "reader").as_bytes().to_vec());
        let mut parts = [writer, reader, hex(text(case, "hex"))];
        let spoiled = dice.roll(parts.len());
        parts[spoiled] = dice.spoil(std::mem::take(&mut parts[spoiled]));
        let [writer, reader, bytes] = parts;
        [&writer[..], b"\n", &reader, &[0], &bytes].concat()
    };
    run(make, targets::schema);
}
