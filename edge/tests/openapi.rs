//! `openapi.yaml` says what the code does, and nothing else. What only a running system can show is held to it by
//! `tests/clients/openapi.test.mjs`.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "all of this is test code; a panic is how it fails")]

use std::collections::{BTreeMap, BTreeSet};

use batchcast_edge::{
    access, cors,
    problem::{Kind, Problem},
    route::{Call, PATTERNS, Route, route},
    settings::Settings,
};
use hub::{config::Config, metrics::Figures};
use serde_json::{Value, json};
use wire::{BatchState, Head, event, limits, token};

const METHODS: [&str; 8] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"];
const PROBLEM: &str = "application/problem+json";
const STREAM: &str = "/paths/~1api~1batches~1{id}~1stream/get";
const EVENT_STREAM: &str = "/paths/~1api~1batches~1{id}~1stream/get/responses/200/content/text~1event-stream";

/// The document. Panics where it has not what it is asked for.
struct Document(Value);

/// One method of one address.
struct Operation<'a> {
    path: &'a str,
    method: &'static str,
    value: &'a Value,
}

impl Document {
    fn read() -> Self {
        Self(serde_saphyr::from_str(include_str!("../openapi.yaml")).expect("openapi.yaml is YAML"))
    }

    fn at(&self, pointer: &str) -> &Value {
        self.0.pointer(pointer).unwrap_or_else(|| panic!("there is no {pointer}"))
    }

    fn schema(&self, name: &str) -> &Value {
        self.at(&format!("/components/schemas/{name}"))
    }

    /// What a reference leads to, or the value itself.
    fn resolve<'a>(&'a self, value: &'a Value) -> &'a Value {
        value["$ref"].as_str().map_or(value, |reference| self.at(reference.trim_start_matches('#')))
    }

    fn operations(&self) -> Vec<Operation<'_>> {
        let mut operations = Vec::new();
        for (path, item) in entries(self.at("/paths")) {
            let of_path = METHODS.into_iter().filter_map(|method| {
                let value = item.get(method.to_lowercase())?;
                Some(Operation { path, method, value })
            });
            operations.extend(of_path);
        }
        operations
    }

    /// Each response of each operation with the status that it stands under, and those that answer other addresses and
    /// methods.
    fn responses(&self) -> Vec<(&str, &Value)> {
        let operations = self.operations().into_iter();
        let mut all: Vec<_> = operations.flat_map(|operation| entries(&operation.value["responses"])).collect();
        all.push(("404", self.at("/components/responses/NotFound")));
        all.push(("405", self.at("/components/responses/MethodNotAllowed")));
        all.into_iter().map(|(status, response)| (status, self.resolve(response))).collect()
    }

    /// Each response that may have this problem.
    fn responses_with(&self, problem: &str) -> Vec<(&str, &Value)> {
        self.responses().into_iter().filter(|(_, response)| problem_types(response).contains(&problem)).collect()
    }

    fn state(&self, example: &str) -> BatchState {
        let value = self.at(&format!("/components/examples/{example}/value"));
        BatchState::from_json(value.to_string().as_bytes()).unwrap()
    }
}

fn entries(object: &Value) -> impl Iterator<Item = (&str, &Value)> {
    object.as_object().into_iter().flatten().map(|(name, value)| (name.as_str(), value))
}

fn names(object: &Value) -> BTreeSet<&str> {
    entries(object).map(|(name, _)| name).collect()
}

/// Headers by their names in lower case.
fn by_name(headers: &Value) -> BTreeMap<String, &Value> {
    entries(headers).map(|(name, header)| (name.to_lowercase(), header)).collect()
}

/// The words that a schema allows.
fn words(schema: &Value) -> Vec<&str> {
    let listed = schema["enum"].as_array().into_iter().flatten();
    listed.chain(schema.get("const")).filter_map(Value::as_str).collect()
}

/// The types of problems that a response may have.
fn problem_types(response: &Value) -> Vec<&str> {
    words(&response["content"][PROBLEM]["schema"]["properties"]["type"])
}

/// The number that a text begins with, written with separators.
fn number(text: &str) -> u64 {
    let digits = text.chars().take_while(|c| c.is_ascii_digit() || *c == ',').filter(|c| *c != ',');
    digits.collect::<String>().parse().unwrap()
}

fn is_place(segment: &str) -> bool {
    segment.starts_with('{')
}

/// Whether an address of the document is one of a pattern's.
fn is_of(path: &str, pattern: &str) -> bool {
    let (mut segments, mut expected) = (path.split('/'), pattern.split('/'));
    loop {
        match (segments.next(), expected.next()) {
            (None, None) | (Some(_), Some("{rest}")) => return true,
            (Some(segment), Some(wanted)) if segment == wanted || is_place(segment) && is_place(wanted) => {}
            _ => return false,
        }
    }
}

/// What the code says of each kind of problem.
fn said() -> Vec<(Kind, Value)> {
    Kind::ALL.map(|kind| (kind, serde_json::from_str(&Problem::new(kind, "").to_json()).unwrap())).into()
}

/// The name and the data of each event in a stream.
fn events(text: &str) -> Vec<(&str, Value)> {
    let frames = text.split("\n\n").filter_map(|frame| {
        let line = |field: &str| frame.lines().find_map(|line| line.strip_prefix(field));
        Some((line("event: ")?, serde_json::from_str(line("data: ")?).unwrap()))
    });
    frames.collect()
}

#[test]
fn every_route_is_documented_with_its_methods_and_no_other() {
    let document = Document::read();
    let mut documented: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for Operation { path, method, .. } in document.operations() {
        documented.entry(path).or_default().insert(method);
    }
    for pattern in &PATTERNS {
        let methods: BTreeSet<_> = pattern.methods.split(", ").chain(["OPTIONS"]).collect();
        let here: Vec<_> = documented.iter().filter(|(path, _)| is_of(path, pattern.path)).collect();
        if pattern.path.ends_with("{rest}") {
            // Passed through unread: those of its addresses that the photo worker has.
            assert!(!here.is_empty() && here.iter().all(|(_, some)| some.is_subset(&methods)), "{}", pattern.path);
        } else {
            assert!(here.len() == 1 && *here[0].1 == methods, "{}: {here:?}", pattern.path);
        }
    }
    for path in documented.keys() {
        assert_eq!(PATTERNS.iter().filter(|pattern| is_of(path, pattern.path)).count(), 1, "{path}");
    }
}

#[test]
fn every_documented_request_finds_its_way() {
    for Operation { path, method, .. } in Document::read().operations() {
        let segments = path.split('/').map(|segment| if is_place(segment) { "b-1" } else { segment });
        let found = route(method, &segments.collect::<Vec<_>>().join("/"));
        let is_options = matches!(found, Ok(Route::Call(Call::Options(_))));
        assert!(found.is_ok() && is_options == (method == "OPTIONS"), "{method} {path}: {found:?}");
    }
}

#[test]
fn whoever_must_show_a_token_is_told_when_it_is_missing() {
    let document = Document::read();
    for Operation { path, method, value } in document.operations() {
        let security = value.get("security").unwrap_or_else(|| document.at("/security"));
        let needs_token = security.as_array().is_some_and(|ways| !ways.is_empty());
        assert_eq!(value["responses"].get("401").is_some(), needs_token, "{method} {path}");
    }
}

#[test]
fn every_problem_of_the_edge_is_documented_with_its_status_and_no_other() {
    let (document, kinds) = (Document::read(), said());
    let types: Vec<_> = kinds.iter().map(|(_, problem)| problem["type"].as_str().unwrap()).collect();
    assert_eq!(words(document.schema("EdgeProblemType")), types);
    for (kind, problem) in &kinds {
        let responses = document.responses_with(problem["type"].as_str().unwrap());
        let status = problem["status"].to_string();
        assert!(
            !responses.is_empty() && responses.iter().all(|(under, _)| *under == status),
            "{kind:?}: {responses:?}"
        );
    }
}

#[test]
fn a_problem_is_listed_under_the_status_that_it_names() {
    let document = Document::read();
    for (status, response) in document.responses() {
        let Some(media) = response["content"].get(PROBLEM) else { continue };
        assert_eq!(media["schema"]["properties"]["status"]["const"].to_string(), status, "{response}");
        assert_eq!(media["schema"]["$ref"], "#/components/schemas/Problem");
        assert!(!problem_types(response).is_empty(), "{response}");
    }
}

#[test]
fn the_problems_of_the_photo_worker_are_those_in_its_source() {
    let source = include_str!("../../photo-worker/src/problem.rs");
    let described = source.lines().filter(|line| line.contains("(StatusCode::"));
    let types: BTreeSet<_> = described
        .filter_map(|line| line.split('"').nth(1))
        .map(|name| format!("urn:batchcast:problem:{name}"))
        .collect();
    let document = Document::read();
    let documented = words(document.schema("PhotoWorkerProblemType"));
    assert_eq!(BTreeSet::from_iter(documented.iter().map(ToString::to_string)), types);
    for name in documented {
        assert!(!document.responses_with(name).is_empty(), "{name} is nobody's answer");
    }
}

#[test]
fn a_problem_comes_with_its_headers() {
    let document = Document::read();
    for (kind, problem) in said() {
        let allow = (kind == Kind::MethodNotAllowed).then_some("GET");
        let sent: BTreeMap<_, _> = Problem { allow, ..Problem::new(kind, "") }.headers().into_iter().collect();
        for (_, response) in document.responses_with(problem["type"].as_str().unwrap()) {
            let documented = by_name(&response["headers"]);
            assert!(documented.keys().eq(sent.keys()), "{kind:?}: {response}");
            for (name, value) in &sent {
                let (header, schema) = (documented[*name], &documented[*name]["schema"]);
                let is_number = value.parse().is_ok_and(|number: u64| schema["const"] == number);
                let fits = is_number || words(schema).contains(value) || schema["type"] == "string";
                assert!(fits, "{kind:?} {name}: {value}");
                assert_eq!(header["required"], true, "{kind:?} {name}");
            }
        }
    }
}

#[test]
fn the_problems_shown_are_in_the_words_of_the_edge() {
    let (document, kinds) = (Document::read(), said());
    for (_, response) in document.responses() {
        let media = &response["content"][PROBLEM];
        let named = entries(&media["examples"]).map(|(_, example)| &example["value"]);
        for example in named.chain(media.get("example")) {
            assert!(problem_types(response).contains(&example["type"].as_str().unwrap()), "{example}");
            if let Some((_, kind)) = kinds.iter().find(|(_, kind)| kind["type"] == example["type"]) {
                assert_eq!((&example["status"], &example["title"]), (&kind["status"], &kind["title"]));
            }
        }
    }
}

#[test]
fn the_limits_in_the_text_are_those_of_the_code() {
    let document = Document::read();
    let text = document.at("/info/description").as_str().unwrap();
    let rows = text.lines().filter_map(|line| line.strip_prefix("| ")?.split_once(" | ")).skip(1);
    let documented: BTreeMap<_, _> = rows.map(|(name, rest)| (name, number(rest))).collect();
    let limits = BTreeMap::from([
        ("URL", limits::MAX_URL_BYTES as u64),
        ("Headers", limits::MAX_HEADER_BYTES as u64),
        ("Token or ticket", limits::MAX_TOKEN_BYTES as u64),
        ("Body passed through", limits::MAX_UPLOAD_BYTES),
        ("Uploaded file", limits::MAX_FILE_BYTES),
        ("Files of one upload", limits::MAX_UPLOAD_FILES as u64),
        ("Declaration of photos", limits::MAX_DECLARATION_BYTES as u64),
        ("Photo name", limits::MAX_NAME_BYTES as u64),
        ("Pixels of a photo", limits::MAX_PIXELS),
        ("Photos of a batch", limits::MAX_PHOTOS as u64),
        ("Photo as JSON", limits::MAX_PHOTO_BYTES as u64),
        ("State as JSON", limits::MAX_STATE_BYTES as u64),
        ("Streams opened by one user or address", u64::from(limits::MAX_OPENS)),
        ("Reads and tickets of one user or address", u64::from(limits::MAX_READS)),
        ("Viewers of one batch", limits::MAX_VIEWERS as u64),
        ("Viewers of one batch by one user", limits::MAX_VIEWERS_PER_USER as u64),
    ]);
    assert_eq!(documented, limits);
    assert_eq!(text.matches(&format!("in {} s |", limits::RATE_PERIOD_SECS)).count(), 2);
}

#[test]
fn the_times_in_the_text_are_those_of_the_code() {
    let (document, config) = (Document::read(), Config::default());
    let secs = |time: hub::Millis| format!("{} s", time / 1_000);
    let [stalled, idle] = ["stalled", "idle"].map(|name| format!("{EVENT_STREAM}/x-events/{name}/description"));
    for (pointer, time) in [
        (&*format!("{STREAM}/description"), secs(config.keep_alive)),
        (&format!("{STREAM}/description"), secs(config.forget_after)),
        (&stalled, secs(config.stall_after)),
        (&idle, secs(config.forget_after)),
        ("/paths/~1api~1batches~1{id}~1ticket/post/description", format!("{} minutes", token::TICKET_LIFE / 60_000)),
    ] {
        let text = document.at(pointer).as_str().unwrap();
        assert!(text.contains(&format!(" {time}")), "{time} is not in\n{text}");
    }
}

#[test]
fn the_limits_in_the_schemas_are_those_of_the_code() {
    let document = Document::read();
    for (pointer, limit) in [
        ("Id/maxLength", limits::MAX_ID_BYTES as u64),
        ("Version/maximum", limits::MAX_INTEGER),
        ("UpdatedAt/maxLength", limits::MAX_UPDATED_AT_BYTES as u64),
        ("Count/maximum", limits::MAX_PHOTOS as u64),
        ("Photos/maxItems", limits::MAX_PHOTOS as u64),
        ("Ticket/properties/ticket/maxLength", limits::MAX_TOKEN_BYTES as u64),
        ("Declaration/properties/photos/maxItems", limits::MAX_PHOTOS as u64),
        ("DeclaredPhoto/properties/name/maxLength", limits::MAX_NAME_BYTES as u64),
        ("DeclaredPhoto/properties/size/maximum", limits::MAX_FILE_BYTES),
        ("Upload/properties/file/maxItems", limits::MAX_UPLOAD_FILES as u64),
    ] {
        assert_eq!(document.schema(pointer).as_u64(), Some(limit), "{pointer}");
    }
}

#[test]
fn ids_and_positions_are_written_as_the_code_reads_them() {
    let document = Document::read();
    let id = json!(format!("^[A-Za-z0-9_-]{{1,{}}}$", limits::MAX_ID_BYTES));
    assert_eq!((document.schema("Id/pattern"), document.schema("Id/minLength")), (&id, &json!(1)));
    // As many digits as the largest number has.
    let number = format!("(0|[1-9][0-9]{{0,{}}})", limits::MAX_INTEGER.ilog10());
    assert_eq!(document.schema("Position/pattern"), &json!(format!("^{number}-{number}$")));
    assert_eq!(document.at("/components/headers/ETag/schema/pattern"), &json!(format!("^\"{number}-{number}\"$")));
}

#[test]
fn the_states_shown_are_states_with_all_their_fields_and_no_other() {
    let document = Document::read();
    for (example, is_terminal) in [("OpenBatch", false), ("EndedBatch", true)] {
        let state = document.state(example);
        let written: Value = serde_json::from_str(&state.to_json()).unwrap();
        assert_eq!(&written, document.at(&format!("/components/examples/{example}/value")));
        assert_eq!(names(document.schema("BatchState/properties")), names(&written));
        assert_eq!(state.is_terminal(), is_terminal);
    }
}

#[test]
fn the_stream_shown_is_what_the_edge_writes() {
    let document = Document::read();
    let (open, ended) = (document.state("OpenBatch"), document.state("EndedBatch"));
    let written = event::retry(2_003)
        + &event::progress(&open, None, None)
        + &event::ending(&ended, Some(open.position()), Some(1_795_389_041_700));
    let shown = document.at(&format!("{EVENT_STREAM}/example")).as_str().unwrap();
    assert_eq!(shown.trim_end(), written.trim_end());
    let (_, complete) = events(shown).pop().unwrap();
    assert_eq!(Head::from_json(complete.to_string().as_bytes()).as_ref(), Ok(ended.head()));
}

#[test]
fn the_events_are_those_of_the_code_with_all_their_fields_and_no_other() {
    let document = Document::read();
    let written = [
        &event::progress(&document.state("OpenBatch"), None, Some(1)),
        &event::ending(&document.state("EndedBatch"), None, None),
        event::UPSTREAM_STALE,
        event::UPSTREAM_LIVE,
        event::STALLED,
        &event::idle(document.state("OpenBatch").position()),
        event::GONE,
        event::AUTH_EXPIRED,
        event::BUSY,
    ]
    .concat();
    let written = events(&written);
    let mut fields: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (name, data) in &written {
        fields.entry(name).or_default().extend(names(data));
    }
    let documented = entries(document.at(&format!("{EVENT_STREAM}/x-events")));
    let documented = documented.map(|(name, event)| (name, document.resolve(&event["data"])));
    let documented: BTreeMap<_, _> = documented.map(|(name, data)| (name, names(&data["properties"]))).collect();
    assert_eq!(documented, fields);

    let told = written.iter().filter(|(name, _)| *name == "upstream").map(|(_, data)| data["state"].as_str().unwrap());
    assert_eq!(words(document.schema("UpstreamEvent/properties/state")), told.collect::<Vec<_>>());
}

#[test]
fn the_ticket_shown_is_what_the_edge_writes() {
    let document = Document::read();
    let answer = "/paths/~1api~1batches~1{id}~1ticket/post/responses/201/content/application~1json/example";
    let shown = document.at(answer);
    let (ticket, expires) = (shown["ticket"].as_str().unwrap(), shown["expiresAt"].as_u64().unwrap());
    let written = access::ticket_answer(&"batch-123".parse().unwrap(), ticket, expires);
    assert_eq!(shown, &serde_json::from_str::<Value>(&written).unwrap());
}

#[test]
fn the_figures_are_those_of_the_code_and_no_other() {
    let (document, written) = (Document::read(), Figures::default().to_json());
    let written: Value = serde_json::from_str(&written).unwrap();
    assert_eq!(names(document.schema("Metrics/properties")), names(&written));
    for (part, figures) in entries(&written) {
        assert_eq!(names(document.schema(&format!("Metrics/properties/{part}/properties"))), names(figures));
    }
}

#[test]
fn a_preflight_is_told_what_a_page_may_send_and_read() {
    let document = Document::read();
    let mut documented = by_name(document.at("/components/responses/Methods/headers"));
    documented.retain(|name, _| !["allow", "cache-control"].contains(&&**name));
    let sent = cors::headers("https://app.example.com").into_iter().chain(cors::preflight()).chain([cors::VARY]);
    let sent: BTreeMap<_, _> = sent.collect();
    assert!(documented.keys().eq(sent.keys()), "{documented:?}");
    for (name, value) in sent {
        let header = documented[name];
        assert_eq!(header["schema"].get("const").unwrap_or(&header["example"]), value, "{name}");
    }
}

#[test]
fn the_cookie_and_the_version_are_those_of_the_code() {
    let document = Document::read();
    let settings = Settings::from_lookup(|name| name.starts_with("UPSTASH_").then(|| "http://localhost".to_owned()));
    let cookie = settings.map(|settings| settings.cookie).unwrap();
    assert_eq!(document.at("/components/securitySchemes/cookie/name"), &json!(cookie));
    assert_eq!(document.at("/info/version"), env!("CARGO_PKG_VERSION"));
}
