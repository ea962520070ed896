//! What the README shows is what the example does.

#[test]
fn every_line_of_the_readme_stands_in_the_example() {
    let readme = include_str!("../../../README.md");
    let example = include_str!("../examples/counter.rs");
    let section = readme.split("## An application\n").nth(1).expect("the README has the section");
    let block = section.split("```rust\n").nth(1).and_then(|rest| rest.split("```").next());
    let block = block.expect("the section shows some Rust");
    let mut lines = block.lines().map(str::trim).filter(|line| !line.is_empty());
    assert!(lines.all(|line| example.lines().any(|of_example| of_example.trim() == line)), "{block}");
}
