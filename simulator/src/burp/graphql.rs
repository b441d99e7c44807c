//! As much GraphQL as the simulated server speaks: named queries with variables, arguments and aliases; validation of the
//! whole document (fields, arguments, enum words, variables and their types) before anything is answered; introspection of
//! one type at a time.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

/// What a field is: the type of its value ("" for a scalar) and its arguments with their types.
#[derive(Debug)]
struct Field {
    name: &'static str,
    kind: &'static str,
    arguments: Vec<(&'static str, &'static str)>,
}

/// The types that have fields, and the enums.
#[derive(Debug, Default)]
pub(super) struct Schema {
    types: HashMap<&'static str, Vec<Field>>,
    enums: HashMap<&'static str, Vec<&'static str>>,
}

/// A query that has been found valid.
#[derive(Debug)]
pub(super) struct Query {
    pub(super) name: String,
    declared: Vec<(String, String)>,
    selections: Vec<Selection>,
}

/// A field that is asked for.
#[derive(Debug)]
struct Selection {
    alias: String,
    name: String,
    arguments: Vec<(String, Argument)>,
    inner: Vec<Selection>,
}

#[derive(Debug)]
enum Argument {
    Variable(String),
    Literal(Value),
}

impl Schema {
    /// Adds lines of `Type: field=Type(argument:Type|…) field …` and `enum Name: word …`.
    pub(super) fn with(mut self, text: &'static str) -> Self {
        let field = |word: &'static str| {
            let (head, arguments) = word.trim_end_matches(')').split_once('(').unwrap_or((word, ""));
            let (name, kind) = head.split_once('=').unwrap_or((head, ""));
            Field { name, kind, arguments: arguments.split('|').filter_map(|argument| argument.split_once(':')).collect() }
        };
        for (kind, words) in text.lines().filter_map(|line| line.trim().split_once(": ")) {
            match kind.strip_prefix("enum ") {
                Some(kind) => drop(self.enums.insert(kind, words.split(' ').collect())),
                None => drop(self.types.insert(kind, words.split(' ').map(field).collect())),
            }
        }
        self
    }

    fn field(&self, kind: &str, name: &str) -> Option<&Field> {
        self.types.get(kind)?.iter().find(|field| field.name == name)
    }

    /// The query that a request's body wants, or the errors that the server answers instead.
    pub(super) fn query(&self, body: &Value) -> Result<Query, Vec<String>> {
        let text = body["query"].as_str().ok_or(vec!["Query is required".to_owned()])?;
        let mut tokens = Tokens(lex(text), 0);
        let mut queries = Vec::new();
        while !tokens.peek().is_empty() {
            queries.push(read_query(&mut tokens).map_err(|error| vec![error])?);
        }
        let mut errors = Vec::new();
        for query in &queries {
            let mut used = Vec::new();
            self.validate("Query", &query.selections, query, &mut used, &mut errors);
            errors.extend(
                query
                    .declared
                    .iter()
                    .filter(|(name, _)| !used.contains(name))
                    .map(|(name, _)| format!("Validation error (UnusedVariable) : Unused variable '{name}'")),
            );
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let wanted = body["operationName"].as_str();
        let query = queries.into_iter().find(|query| wanted.is_none_or(|wanted| wanted == query.name));
        let query = query.ok_or(vec!["Unknown operation".to_owned()])?;
        let missing = query.declared.iter().filter(|(name, kind)| kind.ends_with('!') && body["variables"][name].is_null());
        let errors: Vec<String> = missing.map(|(name, kind)| format!("Variable '{name}' of type {kind} is required")).collect();
        if errors.is_empty() { Ok(query) } else { Err(errors) }
    }

    fn validate(&self, kind: &str, selections: &[Selection], query: &Query, used: &mut Vec<String>, errors: &mut Vec<String>) {
        for Selection { name, arguments, inner, .. } in selections {
            if name == "__typename" || (name == "__type" && kind == "Query") {
                continue;
            }
            let Some(field) = self.field(kind, name) else {
                errors.push(format!("Validation error (FieldUndefined@[{name}]) : Field '{name}' in type '{kind}' is undefined"));
                continue;
            };
            for (argument, value) in arguments {
                match field.arguments.iter().find(|(known, _)| known == argument) {
                    None => errors.push(format!("Validation error (UnknownArgument@[{name}]) : Unknown field argument '{argument}'")),
                    Some((_, wanted)) => errors.extend(self.mismatch(value, wanted, query, used)),
                }
            }
            for (argument, _) in field.arguments.iter().filter(|(_, kind)| kind.ends_with('!')) {
                if !arguments.iter().any(|(given, _)| given == argument) {
                    errors.push(format!("Validation error (MissingFieldArgument@[{name}]) : Missing field argument '{argument}'"));
                }
            }
            if field.kind.is_empty() != inner.is_empty() {
                errors.push(format!("Validation error (SubselectionRequired@[{name}])"));
            }
            self.validate(field.kind, inner, query, used, errors);
        }
    }

    fn mismatch(&self, value: &Argument, wanted: &str, query: &Query, used: &mut Vec<String>) -> Option<String> {
        match value {
            Argument::Variable(name) => {
                used.push(name.clone());
                let Some((_, declared)) = query.declared.iter().find(|(known, _)| known == name) else {
                    return Some(format!("Validation error (UndefinedVariable) : Undefined variable '{name}'"));
                };
                let bare = |kind: &str| kind.replace('!', "");
                let fits = bare(declared) == bare(wanted) && (declared.ends_with('!') || !wanted.ends_with('!'));
                (!fits).then(|| format!("Validation error (VariableTypeMismatch) : '{declared}' is not '{wanted}'"))
            }
            Argument::Literal(value) => {
                let words = self.enums.get(wanted.trim_matches(['[', ']', '!']))?;
                let given = value.as_array().cloned().unwrap_or_else(|| vec![value.clone()]);
                let wrong = given.iter().find(|word| !words.iter().any(|known| *word == known))?;
                Some(format!("Validation error (WrongType) : {wrong} is no value of '{wanted}'"))
            }
        }
    }

    /// The `data` of a query's answer. `resolve(type, field, parent, argument)` gives each value.
    pub(super) fn answer(&self, query: &Query, variables: &Value, resolve: Resolve<'_>) -> Value {
        self.execute("Query", &Value::Null, &query.selections, variables, resolve)
    }

    fn execute(&self, kind: &str, value: &Value, selections: &[Selection], variables: &Value, resolve: Resolve<'_>) -> Value {
        let mut object = Map::new();
        for Selection { alias, name, arguments, inner } in selections {
            let argument = |name: &str| value_of(arguments, name, variables);
            let answer = match (name.as_str(), self.field(kind, name)) {
                ("__type", _) => self.describe(argument("name").as_str().unwrap_or_default()),
                (_, Some(field)) => {
                    let project = |value: Value| {
                        if value.is_object() { self.execute(field.kind, &value, inner, variables, resolve) } else { value }
                    };
                    match resolve(kind, name, value, &argument) {
                        Value::Array(list) => Value::Array(list.into_iter().map(project).collect()),
                        other => project(other),
                    }
                }
                _ => json!(kind),
            };
            object.insert(alias.clone(), answer);
        }
        Value::Object(object)
    }

    fn describe(&self, kind: &str) -> Value {
        let Some(fields) = self.types.get(kind) else { return Value::Null };
        let arguments = |field: &Field| field.arguments.iter().map(|(name, _)| json!({ "name": name })).collect::<Vec<_>>();
        let fields: Vec<Value> = fields.iter().map(|field| json!({ "name": field.name, "args": arguments(field) })).collect();
        json!({ "name": kind, "fields": fields })
    }
}

/// Gives the value of a field of a type, from its parent's value and its arguments.
pub(super) type Resolve<'a> = &'a dyn Fn(&str, &str, &Value, &dyn Fn(&str) -> Value) -> Value;

impl Query {
    /// Whether a field of this name is asked for with this member.
    pub(super) fn lists(&self, name: &str, member: &str) -> bool {
        fn any(selections: &[Selection], name: &str, member: &str) -> bool {
            let has = |selection: &Selection| selection.name == name && selection.inner.iter().any(|inner| inner.name == member);
            selections.iter().any(|selection| has(selection) || any(&selection.inner, name, member))
        }
        any(&self.selections, name, member)
    }

    /// An argument of a root field.
    pub(super) fn argument(&self, root: &str, name: &str, variables: &Value) -> Value {
        let root = self.selections.iter().find(|selection| selection.name == root);
        root.map_or(Value::Null, |root| value_of(&root.arguments, name, variables))
    }

    /// Whether a root field of this name is asked for.
    pub(super) fn asks(&self, name: &str) -> bool {
        self.selections.iter().any(|selection| selection.name == name)
    }

    /// Whether it asks for the schema.
    pub(super) fn introspects(&self) -> bool {
        self.selections.iter().any(|selection| selection.name.starts_with("__"))
    }
}

fn value_of(arguments: &[(String, Argument)], name: &str, variables: &Value) -> Value {
    match arguments.iter().find(|(known, _)| known == name) {
        Some((_, Argument::Variable(variable))) => variables[variable.as_str()].clone(),
        Some((_, Argument::Literal(literal))) => literal.clone(),
        None => Value::Null,
    }
}

struct Tokens(Vec<String>, usize);

impl Tokens {
    fn next(&mut self) -> String {
        self.1 += 1;
        self.0.get(self.1 - 1).cloned().unwrap_or_default()
    }
    fn peek(&self) -> &str {
        self.0.get(self.1).map_or("", String::as_str)
    }
    fn take(&mut self, wanted: &str) -> bool {
        let found = self.peek() == wanted;
        self.1 += usize::from(found);
        found
    }
}

fn lex(text: &str) -> Vec<String> {
    let mut tokens: Vec<String> = Vec::new();
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        if c.is_alphanumeric() || c == '_' || c == '-' {
            let mut word = c.to_string();
            while let Some(c) = rest.next_if(|c| c.is_alphanumeric() || *c == '_') {
                word.push(c);
            }
            tokens.push(word);
        } else if c == '"' {
            let word: String = rest.by_ref().take_while(|c| *c != '"').collect();
            tokens.push(format!("\"{word}"));
        } else if c == '#' {
            rest.by_ref().take_while(|c| *c != '\n').for_each(drop);
        } else if !c.is_whitespace() && c != ',' {
            tokens.push(c.to_string());
        }
    }
    tokens
}

fn read_query(tokens: &mut Tokens) -> Result<Query, String> {
    if !tokens.take("query") {
        return Err(format!("Invalid syntax: '{}' where a named query should begin", tokens.peek()));
    }
    if matches!(tokens.peek(), "{" | "(" | "") {
        return Err("Anonymous operations are not allowed".to_owned());
    }
    let name = tokens.next();
    let mut declared = Vec::new();
    if tokens.take("(") {
        while tokens.take("$") {
            let variable = tokens.next();
            tokens.take(":");
            let mut kind = String::new();
            while !matches!(tokens.peek(), "$" | ")" | "") {
                kind.push_str(&tokens.next());
            }
            declared.push((variable, kind));
        }
        if !tokens.take(")") {
            return Err(format!("Invalid syntax: '{}' among the variables", tokens.peek()));
        }
    }
    let selections = read_selections(tokens)?;
    Ok(Query { name, declared, selections })
}

fn read_selections(tokens: &mut Tokens) -> Result<Vec<Selection>, String> {
    let mut found = Vec::new();
    if !tokens.take("{") {
        return Ok(found);
    }
    while !tokens.take("}") {
        let mut name = tokens.next();
        if !name.starts_with(|c: char| c.is_alphabetic() || c == '_') {
            return Err(format!("Invalid syntax: '{name}' where a field should be"));
        }
        let alias = name.clone();
        if tokens.take(":") {
            name = tokens.next();
        }
        let mut arguments = Vec::new();
        if tokens.take("(") {
            while !tokens.take(")") {
                let argument = tokens.next();
                if !tokens.take(":") {
                    return Err(format!("Invalid syntax: no value for argument '{argument}'"));
                }
                arguments.push((argument, read_value(tokens)));
            }
        }
        found.push(Selection { alias, name, arguments, inner: read_selections(tokens)? });
    }
    Ok(found)
}

fn read_value(tokens: &mut Tokens) -> Argument {
    let literal = |token: String| match token.strip_prefix('"') {
        Some(text) => json!(text),
        None if token == "true" || token == "false" => json!(token == "true"),
        None => token.parse::<i64>().map_or_else(|_| json!(token), |number| json!(number)),
    };
    if tokens.take("$") {
        return Argument::Variable(tokens.next());
    }
    if tokens.take("[") {
        let mut list = Vec::new();
        while !tokens.take("]") && !tokens.peek().is_empty() {
            list.push(literal(tokens.next()));
        }
        return Argument::Literal(Value::Array(list));
    }
    Argument::Literal(literal(tokens.next()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(query: &str, variables: &Value) -> String {
        let schema = Schema::default().with(
            "Query: scan=Scan(id:ID!) scans=Scan(status:[Status]|limit:Int)\nScan: id issues=Issue(start:Int!)\nIssue: path\nenum Status: done failed",
        );
        schema.query(&json!({ "query": query, "variables": variables })).map_or_else(|errors| errors.join("\n"), |query| query.name)
    }

    #[test]
    fn a_valid_query_is_known_by_its_name() {
        assert_eq!(errors("query One($id: ID!) { s: scan(id: $id) { id issues(start: 0) { path } } }", &json!({ "id": "7" })), "One");
        assert_eq!(errors("query All { scans(status: [done failed], limit: 2) { id } }", &json!({})), "All");
    }

    #[test]
    fn what_the_real_server_refuses_is_refused() {
        for (query, told) in [
            ("{ scans { id } }", "named query"),
            ("query { scans { id } }", "Anonymous"),
            ("query Q { scans { id name } }", "FieldUndefined@[name]"),
            ("query Q { scans(page: 1) { id } }", "Unknown field argument 'page'"),
            ("query Q { scans(status: [finished]) { id } }", "no value of '[Status]'"),
            ("query Q { scans { issues { path } } }", "Missing field argument 'start'"),
            ("query Q($n: String) { scans(limit: $n) { id } }", "VariableTypeMismatch"),
            ("query Q($n: ID) { scan(id: $n) { id } }", "VariableTypeMismatch"),
            ("query Q($n: Int) { scans { id } }", "Unused variable 'n'"),
            ("query Q { scan(id: $id) { id } }", "Undefined variable 'id'"),
            ("query Q($id: ID!) { scan(id: $id) { id } }", "'id' of type ID! is required"),
            ("query Q { scans }", "SubselectionRequired@[scans]"),
            ("query Q { scans { id } } query R { scans { nothing } }", "FieldUndefined@[nothing]"),
            ("query Q { scans { id }", "Invalid syntax"),
        ] {
            let errors = errors(query, &json!({}));
            assert!(errors.contains(told), "{query}: {errors}");
        }
    }
}
