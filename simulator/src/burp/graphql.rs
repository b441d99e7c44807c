//! As much GraphQL as the simulated server speaks: named operations with variables, arguments, aliases, inline fragments;
//! validation of the whole query before anything is answered; introspection of one type.

use serde_json::{Map, Value, json};

/// A field that is asked for.
#[derive(Debug)]
pub(super) struct Selection {
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

/// One type's fields: name, type of the value, names of the arguments.
pub(super) type Schema = Vec<(&'static str, Vec<(&'static str, &'static str, Vec<&'static str>)>)>;

/// Reads a schema of lines `Type: field=Type(arg arg) field …`.
pub(super) fn schema(text: &'static str) -> Schema {
    let field = |word: &'static str| {
        let (head, arguments) = word.trim_end_matches(')').split_once('(').unwrap_or((word, ""));
        let (name, kind) = head.split_once('=').unwrap_or((head, ""));
        (name, kind, arguments.split('|').filter(|name| !name.is_empty()).collect())
    };
    text.lines()
        .filter_map(|line| line.trim().split_once(": "))
        .map(|(kind, fields)| (kind, fields.split(' ').map(field).collect()))
        .collect()
}

/// Parses, validates and answers: `Err` is the list of errors of a query that is not valid.
pub(super) fn answer(
    schema: &Schema,
    body: &Value,
    resolve: &dyn Fn(&str, &str, &Value, &dyn Fn(&str) -> Value) -> Value,
) -> Result<Value, Vec<String>> {
    let query = body["query"].as_str().ok_or(vec!["Query is required".to_owned()])?;
    let mut tokens = Tokens(lex(query), 0);
    let wanted = body["operationName"].as_str();
    while let Some(word) = tokens.next() {
        if word != "query" {
            return Err(vec!["Operations must be named queries".to_owned()]);
        }
        let name =
            tokens.next().filter(|name| name != "{" && name != "(").ok_or(vec!["Anonymous operations are not allowed".to_owned()])?;
        let mut required = Vec::new();
        if tokens.peek() == "(" {
            while tokens.next().is_some_and(|token| token != ")") {
                if tokens.peek() == "$" {
                    tokens.next();
                }
                if tokens.peek_at(1) == ":" {
                    let variable = tokens.next().unwrap_or_default();
                    tokens.next();
                    while !matches!(&*tokens.peek(), "$" | ")" | "") {
                        if tokens.peek() == "!" && matches!(&*tokens.peek_at(1), "$" | ")") {
                            required.push(variable.clone());
                        }
                        tokens.next();
                    }
                }
                if tokens.peek() == "{" {
                    break;
                }
            }
        }
        let selections = selections(&mut tokens);
        if wanted.is_none_or(|wanted| wanted == name) {
            let mut errors: Vec<String> = required
                .iter()
                .filter(|name| body["variables"][name.as_str()].is_null())
                .map(|name| format!("Variable '{name}' is required"))
                .collect();
            validate(schema, "Query", &selections, &mut errors);
            return if errors.is_empty() {
                Ok(execute(schema, "Query", &Value::Null, &selections, &body["variables"], resolve))
            } else {
                Err(errors)
            };
        }
    }
    Err(vec!["Unknown operation".to_owned()])
}

fn validate(schema: &Schema, kind: &str, selections: &[Selection], errors: &mut Vec<String>) {
    for selection in selections.iter().filter(|selection| selection.name != "__typename") {
        if selection.name == "__type" {
            continue;
        }
        let fields = schema.iter().find(|(name, _)| *name == kind).map(|(_, fields)| fields);
        let Some((_, inner, arguments)) = fields.and_then(|fields| fields.iter().find(|(name, ..)| *name == selection.name)) else {
            errors.push(format!(
                "Validation error (FieldUndefined@[{}]) : Field '{}' in type '{kind}' is undefined",
                selection.name, selection.name
            ));
            continue;
        };
        for (name, _) in selection.arguments.iter().filter(|(name, _)| !arguments.contains(&name.as_str())) {
            errors.push(format!("Validation error (UnknownArgument@[{}]) : Unknown field argument '{name}'", selection.name));
        }
        if inner.is_empty() != selection.inner.is_empty() {
            errors.push(format!("Validation error (SubselectionRequired@[{}])", selection.name));
        }
        validate(schema, inner, &selection.inner, errors);
    }
}

fn execute(
    schema: &Schema,
    kind: &str,
    value: &Value,
    selections: &[Selection],
    variables: &Value,
    resolve: &dyn Fn(&str, &str, &Value, &dyn Fn(&str) -> Value) -> Value,
) -> Value {
    let mut object = Map::new();
    for selection in selections {
        let argument = |name: &str| match selection.arguments.iter().find(|(known, _)| known == name) {
            Some((_, Argument::Variable(variable))) => variables[variable.as_str()].clone(),
            Some((_, Argument::Literal(literal))) => literal.clone(),
            None => Value::Null,
        };
        let answer = match selection.name.as_str() {
            "__typename" => json!(kind),
            "__type" => {
                let found = schema.iter().find(|(name, _)| argument("name") == json!(name));
                let named = |names: &[&str]| names.iter().map(|name| json!({ "name": name })).collect::<Vec<_>>();
                found.map_or(Value::Null, |(name, fields)| {
                    let fields: Vec<Value> =
                        fields.iter().map(|(name, _, arguments)| json!({ "name": name, "args": named(arguments) })).collect();
                    json!({ "name": name, "fields": fields })
                })
            }
            name => {
                let found = resolve(kind, name, value, &argument);
                let fields = schema.iter().find(|(known, _)| *known == kind).map(|(_, fields)| fields);
                let inner = fields.and_then(|fields| fields.iter().find(|(known, ..)| *known == name)).map_or("", |(_, inner, _)| inner);
                let project = |value: Value| {
                    if value.is_object() { execute(schema, inner, &value, &selection.inner, variables, resolve) } else { value }
                };
                match found {
                    Value::Array(list) => Value::Array(list.into_iter().map(project).collect()),
                    other => project(other),
                }
            }
        };
        object.insert(selection.alias.clone(), answer);
    }
    Value::Object(object)
}

struct Tokens(Vec<String>, usize);

impl Tokens {
    fn next(&mut self) -> Option<String> {
        self.1 += 1;
        self.0.get(self.1 - 1).cloned()
    }
    fn peek(&self) -> String {
        self.peek_at(0)
    }
    fn peek_at(&self, ahead: usize) -> String {
        self.0.get(self.1 + ahead).cloned().unwrap_or_default()
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

fn selections(tokens: &mut Tokens) -> Vec<Selection> {
    let mut found = Vec::new();
    if tokens.peek() != "{" {
        return found;
    }
    tokens.next();
    while let Some(mut name) = tokens.next().filter(|token| token != "}") {
        let alias = name.clone();
        if tokens.peek() == ":" {
            tokens.next();
            name = tokens.next().unwrap_or_default();
        }
        let mut arguments = Vec::new();
        if tokens.peek() == "(" {
            tokens.next();
            while let Some(argument) = tokens.next().filter(|token| token != ")") {
                tokens.next();
                arguments.push((argument, value(tokens)));
            }
        }
        found.push(Selection { alias, name, arguments, inner: selections(tokens) });
    }
    found
}

fn value(tokens: &mut Tokens) -> Argument {
    match tokens.next().unwrap_or_default() {
        token if token == "$" => Argument::Variable(tokens.next().unwrap_or_default()),
        token if token == "[" => {
            let mut list = Vec::new();
            while tokens.peek() != "]" && !tokens.peek().is_empty() {
                list.push(json!(tokens.next()));
            }
            tokens.next();
            Argument::Literal(Value::Array(list))
        }
        token if token.starts_with('"') => Argument::Literal(json!(token[1..])),
        token => Argument::Literal(
            token.parse::<i64>().map_or_else(|_| if token == "true" { json!(true) } else { json!(token) }, |number| json!(number)),
        ),
    }
}
