//! Folders -> the files below them, and the places where a change of them would be seen.
//!
//! Bounded in depth and entries, safe against loops of links, and never stopped by one folder
//! that can't be read.

use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use super::finding::{self, Finding};

/// What lies below one folder.
#[derive(Debug, Default)]
pub(super) struct Walk {
    /// Every file in order of path; links are followed and keep their own path.
    pub files: Vec<PathBuf>,
    /// Where a change would be seen.
    pub folders: BTreeSet<PathBuf>,
    /// What could not be walked.
    pub findings: Vec<Finding>,
}

/// Folders below a source. certbot needs two, a Kubernetes projection three.
const DEPTH_MAX: usize = 6;
/// Entries below a source: 10,000 certificates in the layout of certbot have 60,000 with their
/// README, but the archive is not walked.
const ENTRIES_MAX: usize = 60_000;
/// Links on the way to a file, as many as Linux itself follows.
const HOPS_MAX: usize = 40;

/// Everything below `root`.
pub(super) fn walk(root: &Path) -> Walk {
    let mut walk = Walker::default();
    trail(root, &mut walk.walk.folders);
    walk.enter(root, 0);
    walk.bounded(root);
    walk.walk
}

/// Adds every folder in which a change can alter what `path` means: those of the links on the
/// way, of the targets of those links, and its own.
pub(super) fn trail(path: &Path, folders: &mut BTreeSet<PathBuf>) {
    let mut hops = HOPS_MAX;
    follow(path, folders, &mut hops);
}

fn follow(path: &Path, folders: &mut BTreeSet<PathBuf>, hops: &mut usize) {
    let mut at = PathBuf::new();
    for part in path.components() {
        if part == Component::ParentDir {
            // Of a path without links on the way, as `at` is at this point.
            at.pop();
            continue;
        }
        at.push(part);
        let Ok(target) = fs::read_link(&at) else {
            continue;
        };
        let folder = at.parent().map(Path::to_owned).unwrap_or_default();
        let target = folder.join(target);
        folders.insert(here(folder));
        if *hops == 0 {
            return;
        }
        *hops -= 1;
        follow(&target, folders, hops);
        if let Ok(resolved) = at.canonicalize() {
            at = resolved;
        }
    }
    if let Some(folder) = at.parent() {
        folders.insert(here(folder.to_owned()));
    }
}

/// The empty path stands for the working directory.
fn here(folder: PathBuf) -> PathBuf {
    if folder.as_os_str().is_empty() { PathBuf::from(".") } else { folder }
}

#[derive(Default)]
struct Walker {
    walk: Walk,
    entries: usize,
    over: bool,
    seen: HashSet<(u64, u64)>,
}

impl Walker {
    fn enter(&mut self, folder: &Path, depth: usize) {
        if depth > DEPTH_MAX {
            self.over = true;
            return;
        }
        // A folder that links lead back to is walked once.
        if let Ok(metadata) = fs::metadata(folder)
            && !self.seen.insert((metadata.dev(), metadata.ino()))
        {
            return;
        }
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) => {
                let shown = folder.display();
                return self
                    .walk
                    .findings
                    .push(finding::SOURCE_UNREADABLE.about(&[&shown, &error]));
            }
        };
        self.walk.folders.insert(folder.to_owned());
        let mut names: Vec<_> = entries
            .filter_map(Result::ok)
            .take(ENTRIES_MAX + 1)
            .map(|entry| (entry.file_name(), entry.file_type().ok()))
            // Hidden ones are half-written files of editors, and `..data` of Kubernetes, whose
            // content appears under its proper name too.
            .filter(|(name, _)| !name.as_encoded_bytes().starts_with(b"."))
            .collect();
        names.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        // What certbot keeps there are the targets of `live` and every older issuance.
        let certbot = names.iter().any(|(name, _)| name == "live");
        for (name, kind) in names {
            self.entries += 1;
            if self.entries > ENTRIES_MAX {
                self.over = true;
                return;
            }
            if !(certbot && name == "archive") {
                self.visit(folder.join(name), kind, depth);
            }
        }
    }

    fn visit(&mut self, path: PathBuf, kind: Option<fs::FileType>, depth: usize) {
        let linked = kind.is_none_or(|kind| kind.is_symlink());
        if linked {
            trail(&path, &mut self.walk.folders);
        }
        let is_folder = match kind {
            Some(kind) if !linked => kind.is_dir(),
            _ => fs::metadata(&path).is_ok_and(|metadata| metadata.is_dir()),
        };
        if is_folder {
            self.enter(&path, depth + 1);
        } else {
            self.walk.files.push(path);
        }
    }

    fn bounded(&mut self, root: &Path) {
        if self.over {
            let bounds: [&dyn std::fmt::Display; 3] = [&root.display(), &ENTRIES_MAX, &DEPTH_MAX];
            self.walk.findings.push(finding::SOURCE_BOUNDED.about(&bounds));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn loops_depth_and_hidden_names_are_bounded() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        fs::create_dir_all(at("a/1/2/3/4/5/6/7")).unwrap();
        for name in ["a/x.pem", ".hidden.pem", "a/1/2/3/4/5/6/7/deep.pem"] {
            fs::write(at(name), "x").unwrap();
        }
        symlink(root.path(), at("a/loop")).unwrap();
        symlink(at("self.pem"), at("self.pem")).unwrap();
        let walk = walk(root.path());
        assert_eq!(walk.files, [at("a/x.pem"), at("self.pem")]);
        assert_eq!(walk.findings.len(), 1);
        assert_eq!(walk.findings[0].code, "source_bounded");
    }

    #[test]
    fn the_trail_names_the_folder_of_every_link_on_the_way() {
        let root = tempfile::tempdir().unwrap();
        let base = root.path().canonicalize().unwrap();
        let at = |name: &str| base.join(name);
        fs::create_dir_all(at("releases/5")).unwrap();
        fs::create_dir_all(at("srv")).unwrap();
        fs::write(at("releases/5/c.pem"), "x").unwrap();
        symlink("../releases/5", at("srv/current")).unwrap();
        let mut folders = BTreeSet::new();
        trail(&at("srv/current/c.pem"), &mut folders);
        let expected: BTreeSet<_> =
            [at("srv"), at("releases"), at("releases/5")].into_iter().collect();
        assert_eq!(folders, expected);
    }

    #[test]
    fn certbots_archive_is_not_walked() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        for folder in ["live/a", "archive/a"] {
            fs::create_dir_all(at(folder)).unwrap();
        }
        fs::write(at("archive/a/fullchain1.pem"), "x").unwrap();
        symlink("../../archive/a/fullchain1.pem", at("live/a/fullchain.pem")).unwrap();
        let walk = walk(root.path());
        assert_eq!(walk.files, [at("live/a/fullchain.pem")]);
        assert!(walk.folders.iter().any(|folder| folder.ends_with("archive/a")));
    }
}
