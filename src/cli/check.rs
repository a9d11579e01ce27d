//! `evergate check`: proves a configuration and judges every certificate, and serves nothing.

use std::cmp::Reverse;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::{Value, json};
use time::OffsetDateTime;

use super::health::{self, Concern, Health, concerns, counted, headline, of_lone, summary, worst};
use super::picture::{Certificate, Picture};
use super::print::{self, Format, answer, answer_json, complain};
use super::{CONFIG_DEFAULT, CheckArgs};
use crate::config::model::{CertPlace, CertSource, Config, GuardPolicy, PathPattern, Role};
use crate::config::{self, Proved, Refusal};
use crate::gate;
use crate::guard;
use crate::guard::Report;
use crate::host::HostPattern;

/// Judges what the arguments name, prints the verdict, answers as a monitoring plug-in.
pub(super) fn run(args: CheckArgs) -> ExitCode {
    let (now, format) = (args.judge.now(), args.judge.format);
    let judged = if args.paths.is_empty() {
        let path = args.config.as_deref().unwrap_or(Path::new(CONFIG_DEFAULT));
        match config::load(path) {
            Ok(proved) => judge_config(&proved, now),
            Err(refusal) => return refused(&refusal, format),
        }
    } else {
        judge_paths(&args.paths, now)
    };
    match judged {
        Ok(judged) => judged.conclude(format),
        Err(problem) => unknown(&problem, Value::Null, format),
    }
}

/// Everything that is printed, and why the verdict is what it is.
struct Judged {
    report: Report,
    picture: Picture,
    concerns: Vec<Concern>,
    summary: String,
    routes: Vec<RouteRow>,
    warnings: Value,
}

fn judge_config(proved: &Proved, now: OffsetDateTime) -> Result<Judged, String> {
    let Proved { config, warnings } = proved;
    if !warnings.is_empty() {
        complain(&warnings.to_string());
    }
    gate::prove(config).map_err(|problem| problem.to_string())?;
    let routed = gate::routed_hosts(config);
    let report = guard::assess(config.certs.clone(), config.guard.clone(), routed, now);
    let mut judged = Judged::of(report)?;
    judged.routes = in_order_of_match(config);
    let told = serde_json::to_value(warnings).unwrap_or_default();
    judged.warnings = told.get("diagnostics").cloned().unwrap_or(json!([]));
    Ok(judged)
}

/// Folders are judged like a `[[cert]]` with `directory`, files as what they hold.
fn judge_paths(paths: &[PathBuf], now: OffsetDateTime) -> Result<Judged, String> {
    let (mut sources, mut files) = (Vec::new(), Vec::new());
    for path in paths {
        let shown = path.display();
        let about = std::fs::metadata(path).map_err(|error| {
            format!("{shown}: {error}; name a folder, a PEM file, or --config FILE")
        })?;
        if path.extension().is_some_and(|e| e == "toml") {
            let command = format!("evergate check --config {shown}");
            return Err(format!("{shown} is a configuration: {command}"));
        }
        if about.is_dir() {
            sources.push(CertSource {
                place: CertPlace::Directory(path.clone()),
                role: Role::Primary,
            });
        } else {
            files.push(guard::inspect_pem(path, &[], now));
        }
    }
    let report = guard::assess(sources.clone(), GuardPolicy::default(), Vec::new(), now);
    let mut judged = Judged::of(report)?;
    for file in files {
        let certificate = Certificate::of_report(&file).map_err(|error| error.to_string())?;
        judged.concerns.extend(of_lone(&certificate, now));
        judged.picture.certificates.push(certificate);
        judged.report.certificates.push(file);
    }
    let count = judged.picture.certificates.len();
    if sources.is_empty() {
        judged.summary = counted(count, "file");
    } else if count == 0 && judged.concerns.is_empty() {
        // Content with nothing: a mistyped path would look well for ever.
        let nothing = "no certificate was found there".to_owned();
        judged.concerns.push(health::unknown(nothing));
    }
    Ok(judged)
}

impl Judged {
    fn of(report: Report) -> Result<Self, String> {
        let picture = Picture::of_report(&report).map_err(|error| error.to_string())?;
        Ok(Self {
            concerns: concerns(&picture),
            summary: summary(&picture),
            report,
            picture,
            routes: Vec::new(),
            warnings: json!([]),
        })
    }

    fn conclude(self, format: Format) -> ExitCode {
        let verdict = worst(&self.concerns);
        let line = headline(&self.concerns, &self.summary);
        match format {
            Format::Text => {
                let mut text = format!("{line}\n{}", print::picture(&self.picture));
                if !self.routes.is_empty() {
                    text.push_str("\nRoutes, in order of match\n");
                    let rows: Vec<_> = self.routes.iter().map(RouteRow::cells).collect();
                    text.push_str(&print::table(["host", "path", "to", "route"], &rows));
                }
                answer(&text);
            }
            Format::Json => {
                let mut document = serde_json::to_value(&self.report).unwrap_or_default();
                if let Value::Object(fields) = &mut document {
                    fields.insert("verdict".to_owned(), json!(verdict.word()));
                    fields.insert("summary".to_owned(), json!(line));
                    fields.insert("routes".to_owned(), json!(self.routes));
                    fields.insert("warnings".to_owned(), self.warnings);
                }
                answer_json(&document);
            }
        }
        verdict.exit()
    }
}

fn refused(refusal: &Refusal, format: Format) -> ExitCode {
    let details = serde_json::to_value(refusal).unwrap_or(Value::Null);
    match format {
        Format::Text => {
            answer(&format!("UNKNOWN - the configuration is invalid\n\n{refusal}"));
            Health::Unknown.exit()
        }
        Format::Json => unknown("the configuration is invalid", details, format),
    }
}

fn unknown(problem: &str, details: Value, format: Format) -> ExitCode {
    let line = format!("UNKNOWN - {problem}");
    match format {
        Format::Text => answer(&line),
        Format::Json => answer_json(&json!({
            "verdict": Health::Unknown.word(), "summary": line, "refusal": details,
        })),
    }
    Health::Unknown.exit()
}

/// One line of the table of routes: a route appears once for each of its hosts.
#[derive(Debug, PartialEq, serde::Serialize)]
struct RouteRow {
    host: String,
    path: String,
    to: String,
    route: String,
}

impl RouteRow {
    fn cells(&self) -> [String; 4] {
        [&self.host, &self.path, &self.to, &self.route].map(Clone::clone)
    }
}

/// The routes as requests meet them: an exact host before a wildcard before every host; then an
/// exact path before the longer prefix; then the order of the file.
fn in_order_of_match(config: &Config) -> Vec<RouteRow> {
    let mut ranked = Vec::new();
    for route in &config.routes {
        let upstream = config.upstreams.get(route.upstream);
        let row = |host: String| RouteRow {
            host,
            path: match &route.path {
                PathPattern::Exact(path) => format!("= {path}"),
                PathPattern::Prefix(path) => path.clone(),
            },
            to: upstream.map_or_else(String::new, |u| u.name.clone()),
            route: route.name.clone(),
        };
        let path = match &route.path {
            PathPattern::Exact(path) => (0, Reverse(path.len())),
            PathPattern::Prefix(path) => (1, Reverse(path.trim_end_matches('/').len())),
        };
        if route.hosts.is_empty() {
            ranked.push(((2, String::new(), path), row("every host".to_owned())));
        }
        for host in &route.hosts {
            let kind = u8::from(matches!(host, HostPattern::Wildcard(_)));
            let name = host.to_string();
            ranked.push(((kind, name.clone(), path), row(name)));
        }
    }
    // The sort is stable: equals stay in the order of the file.
    ranked.sort_by(|(a, _), (b, _)| a.cmp(b));
    ranked.into_iter().map(|(_, row)| row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::model::{GateSettings, RouteSettings, UpstreamSettings};

    fn route(hosts: &[&str], path: PathPattern, name: &str) -> RouteSettings {
        RouteSettings {
            name: name.to_owned(),
            hosts: hosts.iter().map(|host| HostPattern::parse(host).unwrap()).collect(),
            path,
            upstream: 0,
        }
    }

    #[test]
    fn routes_are_shown_in_the_order_in_which_they_match() {
        let prefix = |path: &str| PathPattern::Prefix(path.to_owned());
        let config = Config {
            path: None,
            gate: GateSettings::default(),
            listeners: Vec::new(),
            certs: Vec::new(),
            routes: vec![
                route(&[], prefix("/"), "rest"),
                route(&["*.a.test", "a.test"], prefix("/"), "both"),
                route(&["a.test"], prefix("/api/"), "api"),
                route(&["a.test"], PathPattern::Exact("/api/x".to_owned()), "one"),
            ],
            upstreams: vec![UpstreamSettings::new("api".to_owned(), Vec::new())],
            hosts: Vec::new(),
            guard: GuardPolicy::default(),
            admin: None,
        };
        let shown: Vec<_> = in_order_of_match(&config)
            .into_iter()
            .map(|row| format!("{} {} {}", row.host, row.path, row.route))
            .collect();
        let expected = [
            "a.test = /api/x one",
            "a.test /api/ api",
            "a.test / both",
            "*.a.test / both",
            "every host / rest",
        ];
        assert_eq!(shown, expected);
    }

    #[test]
    fn a_path_that_is_not_there_is_unknown_rather_than_well() {
        let now = time::macros::datetime!(2026-11-24 0:00 UTC);
        let missing = [PathBuf::from("/nowhere/at/all.pem")];
        let problem = judge_paths(&missing, now).err().unwrap();
        assert!(problem.starts_with("/nowhere/at/all.pem: "), "{problem}");
        let empty = tempfile::tempdir().unwrap();
        let judged = judge_paths(&[empty.path().to_owned()], now).unwrap();
        assert_ne!(worst(&judged.concerns), Health::Ok);
    }
}
