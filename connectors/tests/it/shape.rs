//! The shape of the code: no function is longer than a screen without saying why.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Lines of a function, from its `fn` to its closing brace.
const MOST_LINES: usize = 60;

#[test]
fn a_function_has_at_most_sixty_lines_or_says_why_not() {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for folder in ["src", "../simulator/src", "../src"] {
        collect(&package.join(folder), &mut files);
    }
    assert!(files.len() > 100, "only {} source files found", files.len());
    let mut long = Vec::new();
    for file in files {
        let code = fs::read_to_string(&file).expect("a source file");
        long.extend(too_long(&code).into_iter().map(|(name, line, lines)| format!("{}:{line}: {name}: {lines} lines", file.display())));
    }
    assert!(
        long.is_empty(),
        "split these functions into named parts, or give the reason in a line `// long: …` above them:\n{}",
        long.join("\n")
    );
}

#[test]
fn long_functions_are_found_whatever_stands_before_and_in_them() {
    let body = "    let brace = '{';\n".repeat(MOST_LINES - 1);
    let function = |head: &str| format!("{head} {{\n{body}}}\n");
    assert_eq!(too_long(&function("pub(super) async fn long(&self)")), [("long".to_owned(), 1, MOST_LINES + 1)]);
    assert_eq!(too_long(&function("/// What.\n// long: one table\n#[must_use]\nfn told()")), []);
    assert_eq!(too_long(&function("// long:\nfn no_reason()")).len(), 1);
    assert_eq!(too_long(&format!("#[cfg(test)]\nmod tests {{\n{}}}\n", function("    fn tested()").replace("\n}", "\n    }"))), []);
    assert_eq!(too_long(&format!("trait Short {{\n    fn short(&self);\n}}\n{}", "// line\n".repeat(100))), []);
    assert_eq!(too_long(&format!("fn one() {{}}\n\nfn two() -> u8 {{ 2 }}\n{}", "// line\n".repeat(100))), []);
}

/// Source files below a folder, but for those that hold tests alone.
fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder of sources") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|kind| kind == "rs") && !path.ends_with("tests.rs") {
            files.push(path);
        }
    }
}

/// Name, line and length of each function that is too long and gives no reason. The code is formatted: a block ends at the next
/// closing brace that is indented as its first line is.
fn too_long(code: &str) -> Vec<(String, usize, usize)> {
    let lines: Vec<&str> = code.lines().collect();
    let (mut found, mut at) = (Vec::new(), 0);
    while at < lines.len() {
        if lines[at].trim_start().starts_with("mod tests {") {
            at += length(&lines[at..]);
            continue;
        }
        if let Some(name) = function(lines[at]) {
            let length = length(&lines[at..]);
            if length > MOST_LINES && !has_reason(&lines[..at]) {
                found.push((name.to_owned(), at + 1, length));
            }
        }
        at += 1;
    }
    found
}

/// The name of the function that begins on a line.
fn function(line: &str) -> Option<&str> {
    let (before, after) = line.trim_start().split_once("fn ")?;
    let is_qualifier = |word: &str| matches!(word, "pub" | "const" | "async" | "unsafe") || word.starts_with("pub(") || word.ends_with(')');
    let name = after.split(['(', '<']).next().filter(|name| name.chars().all(|c| c.is_alphanumeric() || c == '_'))?;
    before.split_whitespace().all(is_qualifier).then_some(name)
}

/// How many lines a block has whose head is the first one; a head without a body ends with its semicolon.
fn length(lines: &[&str]) -> usize {
    let indent = &lines[0][..lines[0].len() - lines[0].trim_start().len()];
    let is_end = |line: &&str| line.strip_prefix(indent).is_some_and(|rest| rest == "}");
    let head = lines.iter().position(|line| line.ends_with(['{', ';', '}'])).unwrap_or(0);
    if lines[head].ends_with('{') { lines.iter().position(is_end).map_or(lines.len(), |end| end + 1) } else { head + 1 }
}

/// Whether the comments and attributes right above say why.
fn has_reason(above: &[&str]) -> bool {
    let near = above.iter().rev().map(|line| line.trim_start()).take_while(|line| line.starts_with("//") || line.starts_with("#["));
    near.filter_map(|line| line.split_once("long:")).any(|(_, reason)| !reason.trim().is_empty())
}
