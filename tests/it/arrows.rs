//! Modules use each other in one direction: read from the paths (`crate::…`, `super::…`) in the sources.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// The modules of the program, from the command line down. Each uses only those of later lines.
const ORDER: &[&[&str]] = &[
    &["cli"],
    &["daemon"],
    &["http"],
    &["metrics", "notify"],
    &["operation", "status"],
    &["log"],
    &["config", "sync"],
    &["error_code"],
    &["store"],
    &["clock"],
    &["failpoint", "process"],
];

/// Modules, as names from the root of their package.
type Module = Vec<String>;

/// A path in the sources, and where it stands.
struct Use {
    from: Module,
    to: Vec<String>,
    place: String,
}

/// The sources of a package.
struct Sources {
    modules: BTreeMap<Module, (PathBuf, String)>,
}

impl Sources {
    fn of(root: &str) -> Sources {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(root);
        let mut modules = BTreeMap::new();
        for path in files(&root) {
            let name = path.strip_prefix(&root).unwrap().with_extension("");
            let mut module: Module = name.iter().map(|part| part.to_str().unwrap().to_owned()).collect();
            module.pop_if(|last| last == "lib" || last == "mod");
            let code = code_of(&fs::read_to_string(&path).unwrap());
            modules.insert(module, (path, code));
        }
        assert!(modules.len() > 3, "there are sources in {}", root.display());
        Sources { modules }
    }

    /// Every path that names something of this package, after what other modules pass on under a name of their own.
    fn uses(&self) -> Vec<Use> {
        let passed_on = self.passed_on();
        let mut uses = Vec::new();
        for (module, (file, code)) in &self.modules {
            for (at, names) in paths(code) {
                let Some(mut to) = resolve(module, &names) else { continue };
                // A name can be passed on more than once; nobody does it for ever.
                for _ in 0..5 {
                    let owner = self.module_of(&to);
                    let Some(real) = to.get(owner.len()).and_then(|name| passed_on.get(&(owner.clone(), name.clone()))) else { break };
                    let rest = to.split_off(owner.len() + 1);
                    to = real.iter().cloned().chain(rest).collect();
                }
                let line = code[..at].matches('\n').count() + 1;
                uses.push(Use { from: module.clone(), to: self.module_of(&to), place: format!("{}:{line}", file.display()) });
            }
        }
        uses
    }

    /// The innermost module that a path leads into.
    fn module_of(&self, path: &[String]) -> Module {
        (0..=path.len()).rev().map(|length| path[..length].to_vec()).find(|module| self.modules.contains_key(module)).unwrap_or_default()
    }

    /// What stands in a module under a name and comes from another one: by module and name, the real path.
    fn passed_on(&self) -> BTreeMap<(Module, String), Vec<String>> {
        let mut passed_on = BTreeMap::new();
        for (module, (_, code)) in &self.modules {
            let starts = code.match_indices("use ").filter(|(at, _)| !code[..*at].ends_with(|c: char| c.is_alphanumeric() || c == '_'));
            for (at, word) in starts {
                let mut found = Vec::new();
                expand(code, at + word.len(), &[], &mut found);
                for (_, names) in found {
                    let child: Module = module.iter().chain(names.first()).cloned().collect();
                    let real = match resolve(module, &names) {
                        Some(real) => real,
                        None if self.modules.contains_key(&child) => module.iter().chain(&names).cloned().collect(),
                        None => continue,
                    };
                    if let Some(name) = names.last().filter(|_| names.len() > 1) {
                        passed_on.insert((module.clone(), name.clone()), real);
                    }
                }
            }
        }
        passed_on
    }
}

/// Every Rust source below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            found.append(&mut files(&entry));
        } else if entry.extension().is_some_and(|extension| extension == "rs") {
            found.push(entry);
        }
    }
    found.sort();
    found
}

/// A source with its comments and texts blanked, each line where it was.
fn code_of(source: &str) -> String {
    scan(source).0
}

/// The same, and its texts with where they begin.
fn scan(source: &str) -> (String, Vec<(usize, &str)>) {
    let (mut code, mut texts, mut at) = (String::with_capacity(source.len()), Vec::new(), 0);
    while let Some(first) = source[at..].chars().next() {
        let rest = &source[at..];
        let length = match first {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '"' => {
                texts.push((at, &rest[..text_length(rest)]));
                text_length(rest)
            }
            // A character that would begin a text.
            '\'' if rest.starts_with("'\"'") => 3,
            _ => {
                code.push(first);
                at += first.len_utf8();
                continue;
            }
        };
        // As many bytes: places are the same in both.
        code.extend(rest[..length].bytes().map(|byte| if byte == b'\n' { '\n' } else { ' ' }));
        at += length;
    }
    (code, texts)
}

/// How long a text is that begins here, with its quotes.
fn text_length(source: &str) -> usize {
    let mut escaped = false;
    for (at, c) in source.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    source.len()
}

/// Every path that begins with `crate`, `super` or `self`, with where it begins; `a::{b, c}` is two.
fn paths(code: &str) -> Vec<(usize, Vec<String>)> {
    let mut found = Vec::new();
    for word in ["crate::", "super::", "self::"] {
        for (at, _) in code.match_indices(word) {
            if !code[..at].ends_with(|c: char| c.is_alphanumeric() || "_:$".contains(c)) {
                expand(code, at, &[], &mut found);
            }
        }
    }
    found
}

fn expand(code: &str, mut at: usize, before: &[String], found: &mut Vec<(usize, Vec<String>)>) {
    let mut names = before.to_vec();
    loop {
        at += code[at..].len() - code[at..].trim_start().len();
        if code[at..].starts_with('{') {
            for start in members(code, at) {
                expand(code, start, &names, found);
            }
            return;
        }
        let length = code[at..].find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(code.len() - at);
        if length == 0 {
            break;
        }
        names.push(code[at..at + length].to_owned());
        at += length;
        if !code[at..].starts_with("::") {
            break;
        }
        at += 2;
    }
    found.push((at, names));
}

/// Where the members of a group begin, which opens here.
fn members(code: &str, open: usize) -> Vec<usize> {
    let (mut starts, mut depth) = (vec![open + 1], 0);
    for (at, c) in code[open..].char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 1 => break,
            '}' => depth -= 1,
            ',' if depth == 1 => starts.push(open + at + 1),
            _ => {}
        }
    }
    starts
}

/// What a path names, from the root of the package; `None` where it names something else.
fn resolve(module: &[String], names: &[String]) -> Option<Vec<String>> {
    let mut base: Option<Vec<String>> = None;
    for (index, name) in names.iter().enumerate() {
        match (name.as_str(), &mut base) {
            ("crate", None) => base = Some(Vec::new()),
            ("self", None) => base = Some(module.to_vec()),
            ("super", None) => base = Some(module[..module.len().checked_sub(1)?].to_vec()),
            ("super", Some(base)) => drop(base.pop()),
            (_, Some(base)) => {
                base.extend(names[index..].iter().cloned());
                return Some(base.clone());
            }
            (_, None) => return None,
        }
    }
    base
}

/// Uses between modules of one folder that lie on a circle, by folder.
fn circles(sources: &Sources) -> Vec<String> {
    let mut folders: BTreeMap<Module, BTreeMap<(String, String), String>> = BTreeMap::new();
    for Use { from, to, place } in sources.uses() {
        let common = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
        if let (Some(a), Some(b)) = (from.get(common), to.get(common)) {
            folders.entry(from[..common].to_vec()).or_default().entry((a.clone(), b.clone())).or_insert(place);
        }
    }
    let mut circles = Vec::new();
    for (folder, uses) in &folders {
        for ((from, to), place) in uses {
            let (mut reached, mut next) = (BTreeSet::new(), vec![to]);
            while let Some(module) = next.pop() {
                if reached.insert(module) {
                    next.extend(uses.keys().filter(|(start, _)| start == module).map(|(_, end)| end));
                }
            }
            if reached.contains(from) {
                circles.push(format!("{place}: in `{}`, `{from}` uses `{to}`, which leads back to it", folder.join("::")));
            }
        }
    }
    circles
}

#[test]
fn modules_of_the_program_use_only_those_below_them() {
    let rank = |module: &str| ORDER.iter().position(|line| line.contains(&module));
    let mut wrong = Vec::new();
    for Use { from, to, place } in Sources::of("src").uses() {
        let (Some(from), Some(to)) = (from.first().filter(|name| *name != "main"), to.first()) else { continue };
        match (rank(from), rank(to)) {
            _ if from == to => {}
            (Some(above), Some(below)) if above < below => {}
            (Some(_), Some(_)) => wrong.push(format!("{place}: `{from}` uses `{to}`, which is not below it")),
            _ => wrong.push(format!("{place}: `{from}` or `{to}` is not in the order of modules: say where it belongs")),
        }
    }
    assert!(wrong.is_empty(), "see docs/architecture.md\n{}", wrong.join("\n"));
}

#[test]
fn modules_beside_each_other_do_not_use_each_other_in_a_circle() {
    let known = [
        // The contract names the kit's pages and links, and the kit fills in those of the contract.
        "`connector` uses `kit`",
        "`kit` uses `connector`",
        // The HTTP client authenticates with OAuth, which asks for tokens over HTTP.
        "`auth` uses `oauth`",
        "`http` uses `auth`",
        "`oauth` uses `auth`",
        "`oauth` uses `http`",
    ];
    let circles: Vec<String> = ["src", "connectors/src", "simulator/src"].iter().flat_map(|root| circles(&Sources::of(root))).collect();
    let new: Vec<&String> = circles.iter().filter(|circle| !known.iter().any(|known| circle.contains(known))).collect();
    assert!(new.is_empty(), "{new:#?}");
}

/// Whether a text is a statement for the database, or a part of one; not a command that people are told.
fn is_sql(text: &str) -> bool {
    let text = text.to_lowercase();
    let select = text.split_once("select ").is_some_and(|(_, rest)| rest.split_whitespace().any(|word| word == "from"));
    (select || text.contains("insert into ") || text.contains("delete from ")) && !text.contains("sqlite3 ")
}

#[test]
fn only_the_store_knows_the_database() {
    let mut wrong = Vec::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for file in files(&root).into_iter().filter(|file| !file.starts_with(root.join("store")) && *file != root.join("store.rs")) {
        let source = fs::read_to_string(&file).unwrap();
        let (code, texts) = scan(&source);
        let types = code.match_indices("rusqlite").map(|(at, _)| (at, "names a type of the database"));
        let statements = texts.into_iter().filter(|(_, text)| is_sql(text)).map(|(at, _)| (at, "holds a statement for the database"));
        for (at, what) in types.chain(statements) {
            wrong.push(format!("{}:{}: {what}", file.display(), source[..at].matches('\n').count() + 1));
        }
    }
    assert!(wrong.is_empty(), "these belong into src/store, behind a method of its `Reader` or `Store`\n{}", wrong.join("\n"));
}

#[test]
fn circles_and_groups_are_found() {
    assert!(is_sql("select a\n  from b") && is_sql("delete from b") && !is_sql("selects from a list"));
    assert_eq!(scan("f(\"ä\") // \"no\"\nlet c = '\"'; \"x\\\"y\"").1, [(2, "\"ä\""), (29, "\"x\\\"y\"")]);
    let module = |name: &str, code: &str| (name.split("::").map(str::to_owned).collect(), (format!("{name}.rs").into(), code_of(code)));
    let sources = Sources {
        modules: BTreeMap::from([
            (Module::new(), ("lib.rs".into(), "mod a; mod b; mod c;".to_owned())),
            module("a", "// crate::c\nuse crate::{\n    b::{self, X},\n};\nconst TEXT: &str = \"crate::c\";"),
            module("b", "pub use crate::c::Y;"),
            module("c", "fn f() { crate::a::g() }"),
            module("b::d", "use super::super::b::Y;"),
        ]),
    };
    assert_eq!(
        circles(&sources),
        [
            "a.rs:3: in ``, `a` uses `b`, which leads back to it",
            "b.rs:1: in ``, `b` uses `c`, which leads back to it",
            "c.rs:1: in ``, `c` uses `a`, which leads back to it",
        ]
    );
    let passed_on: Vec<Module> = sources.uses().into_iter().filter(|used| used.from == ["b", "d"]).map(|used| used.to).collect();
    assert_eq!(passed_on, [["c"]], "what `b` only passes on is of `c`");
}
