//! Proof that each check of `tests/tidy.rs` can fail, on small texts.

use super::*;

fn source(path: &str, body: &str) -> Source {
    Source::new(path, &format!("//! For a test.\n{body}"))
}

fn order() -> Vec<String> {
    module_order("pub mod cli;\npub mod gate;\nmod hidden;\npub mod guard;\npub mod clock;\n")
}

fn lines_of(complaints: &[Complaint]) -> Vec<usize> {
    let number = |c: &Complaint| c.place.rsplit(':').next()?.parse().ok();
    complaints.iter().filter_map(number).collect()
}

#[test]
fn an_import_that_points_up_is_found() {
    let cases = [
        ("src/guard/mod.rs", "use crate::cli::run;", 1),
        ("src/guard/load.rs", "fn f() { crate::gate::start(); }", 1),
        ("src/guard/mod.rs", "use crate::{clock, gate::Gate};", 1),
        ("src/guard/mod.rs", "use crate::{\n    clock::{cli, gate},\n    guard::x,\n};", 0),
        ("src/guard/mod.rs", "use crate::{\n    clock::Clock,\n    cli::Cli,\n};", 1),
        ("src/guard/load.rs", "use super::super::gate::Gate;", 1),
        ("src/clock.rs", "use super::guard::Level;", 1),
        ("src/guard/load.rs", "use super::gate::Level;", 0),
        ("src/guard/mod.rs", "use crate::clock::Clock;", 0),
        ("src/guard/mod.rs", "use crate::guard::finding;", 0),
        ("src/guard/mod.rs", "// unlike crate::gate, which may", 0),
        ("src/guard/mod.rs", "/// See [`crate::gate`].", 0),
        ("src/guard/mod.rs", "fn f() -> &str { \"crate::gate\" }", 0),
        ("src/guard/mod.rs", "use other_crate::gate::Gate;", 0),
        ("src/main.rs", "use crate::cli;", 0),
        ("tests/it/main.rs", "use crate::gate;", 0),
    ];
    for (path, body, expected) in cases {
        let found = source(path, body).imports(&order());
        assert_eq!(found.len(), expected, "{path}: {body}: {found:?}");
    }
}

#[test]
fn a_function_over_the_limit_is_found() {
    let function = |lines: usize| {
        let body = "        step();\n".repeat(lines - 2);
        format!("impl A {{\n    pub(super) async fn long(\n{body}    }}\n}}\n").replacen(
            "(\n",
            "(&self) {\n",
            1,
        )
    };
    assert_eq!(source("src/a.rs", &function(70)).functions(), []);
    let found = source("src/a.rs", &function(71)).functions();
    assert_eq!(lines_of(&found), [3]);
    assert!(found[0].what.contains("`long` has 71 lines"), "{found:?}");
}

#[test]
fn declarations_and_short_functions_end_where_they_end() {
    let filler = "// more\n".repeat(80);
    for body in [
        "trait A {\n    fn declared(\n        &self,\n    ) -> u8;\n",
        "fn one_line() {}\n",
        "fn wide(\n    a: u8,\n) -> u8\nwhere\n    u8: Copy,\n{\n    a\n}\n",
        "fn with_text() {\n    f(\"\n}\n\");\n}\n",
    ] {
        let source = source("src/a.rs", &format!("{body}{filler}"));
        assert_eq!(source.functions(), [], "{body}");
    }
}

#[test]
fn size_width_and_a_missing_opening_are_found() {
    let long = source("src/a.rs", &"x\n".repeat(FILE_LINES_MAX));
    assert_eq!(lines_of(&long.shape()), [501]);
    let wide = source("src/a.rs", &format!("{}\n{}", "ü".repeat(100), "x".repeat(101)));
    assert_eq!(lines_of(&wide.shape()), [3]);
    let silent = Source::new("src/a.rs", "use std::fmt;\n");
    assert_eq!(lines_of(&silent.shape()), [1]);
    assert_eq!(Source::new("src/a.rs", "").shape().len(), 1);
}

#[test]
fn forbidden_words_are_found_in_code_only() {
    let cases = [
        ("unsafe { f() }", 1),
        ("    todo!()", 1),
        ("unimplemented!(\"later\")", 1),
        ("#![forbid(unsafe_code)]", 0),
        ("// unsafe would be faster", 0),
        ("/* todo!() */", 0),
        ("let text = \"unsafe\";", 0),
        ("let text = r#\"a \"unsafe\" b\"#;", 0),
        ("let c = '\"'; unsafe {}", 1),
        ("fn f<'a>(x: &'a str) { unsafe {} }", 1),
        ("// TODO: later", 1),
        ("// TODO(): later", 1),
        ("// TODO(rustls 0.24 renames it): follow", 0),
        ("// FIXME", 1),
        ("let todo = \"TODO\";", 0),
    ];
    for (body, expected) in cases {
        let found = source("src/a.rs", body).forbidden();
        assert_eq!(found.len(), expected, "{body}: {found:?}");
        assert!(lines_of(&found).iter().all(|line| *line == 2), "{body}");
    }
}

#[test]
fn a_command_or_flag_that_does_not_exist_is_found() {
    let page = "evergate nowhere\n```sh\n$ evergate check --at 2027-03-01 # a day\n\
                evergate fly --high\nevergate --help\n```\n";
    let shown = shown_commands(page);
    let names: Vec<_> = shown.iter().map(|(line, shown)| (*line, shown.name.as_str())).collect();
    assert_eq!(names, [(3, "check"), (4, "fly")]);
    let check = &shown[0].1;
    assert_eq!(check.check(Some("  --at <DATE>  as of that day"), "p:3"), []);
    assert_eq!(check.check(Some("  --at-once  now"), "p:3").len(), 1);
    assert_eq!(check.check(None, "p:3").len(), 1);
}

#[test]
fn an_unlinked_page_is_found() {
    let indexes = ["see [tenets](docs/tenets.md) and [config](config.md#guard)".to_owned()];
    assert!(is_linked("tenets.md", &indexes));
    assert!(is_linked("config.md", &indexes));
    assert!(!is_linked("findings.md", &indexes));
}
