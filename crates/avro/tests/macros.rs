//! What the derive macro says when it cannot do what was asked.

#[test]
fn mistakes_are_told_with_what_to_do_instead() {
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}
