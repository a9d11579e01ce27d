//! Where certificates come from: sources -> slots, each with what lies there now.
//!
//! A slot is one chain file and keeps its identity, the path as walked, for as long as the
//! configuration names it. Within a folder chains and keys are paired by public key and by
//! nothing else, so that every layout of names works and a half-done rotation pairs nothing.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use time::OffsetDateTime;

use super::finding::{self, Finding};
use super::load::{Bundle, Key, Material, Reader, read_pair};
use super::walk::{self, Walk};
use crate::config::model::{CertPlace, CertSource, Role};

/// What all sources hold at one moment.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Every slot with its bundle, in the order of the configuration.
    pub slots: Vec<Slot>,
    /// Where a change would be seen: folders of files, of links on the way, and of sources.
    pub folders: BTreeSet<PathBuf>,
    /// What is wrong with a source as a whole.
    pub findings: Vec<Finding>,
}

/// One place for one certificate.
#[derive(Debug)]
pub(super) struct Slot {
    /// The chain file, as walked.
    pub path: PathBuf,
    /// What lies there.
    pub bundle: Bundle,
    /// Whether the file that the configuration names does not exist.
    pub gone: bool,
}

/// Reads every source. `known` slots stay slots while their file exists, whatever it holds.
pub(super) fn find(
    sources: &[CertSource],
    reader: &mut Reader,
    known: &dyn Fn(&Path) -> bool,
    now: OffsetDateTime,
    force: bool,
) -> Found {
    let mut found = Found::default();
    let mut taken = HashSet::new();
    reader.begin();
    for source in sources {
        let slots = match &source.place {
            CertPlace::Pair { chain, key } => {
                walk::trail(chain, &mut found.folders);
                walk::trail(key, &mut found.folders);
                vec![pair(reader, source.role, (chain, key), now, force)]
            }
            CertPlace::Directory(root) => {
                let walk = walk::walk(root);
                let folder = Folder::read(reader, &walk, now, force);
                let slots = folder.slots(source.role, known);
                found.folders.extend(walk.folders);
                found.findings.extend(walk.findings);
                if slots.is_empty() && found.findings.is_empty() {
                    found.findings.push(finding::SOURCE_EMPTY.about(&[&root.display()]));
                }
                slots
            }
        };
        // One file may be reached by two sources; the first that names it decides its role.
        found.slots.extend(slots.into_iter().filter(|slot| taken.insert(slot.path.clone())));
    }
    reader.forget();
    found
}

/// Whether a slot of `path` can come from `place`.
pub(super) fn could_hold(place: &CertPlace, path: &Path) -> bool {
    match place {
        CertPlace::Pair { chain, .. } => chain == path,
        CertPlace::Directory(root) => path.starts_with(root),
    }
}

fn pair(
    reader: &mut Reader,
    role: Role,
    (chain, key): (&PathBuf, &PathBuf),
    now: OffsetDateTime,
    force: bool,
) -> Slot {
    let missing = |error: io::Error| error.kind() == io::ErrorKind::NotFound;
    let gone = chain.metadata().is_err_and(missing);
    let (chain, key) = read_pair(reader, (chain, key), now, force);
    let own = chain.keys.iter();
    let keys: Vec<&Key> = key.keys.iter().chain(own).collect();
    let belongs = |key: &&&Key| chain.certs.iter().any(|cert| cert.spki == key.spki);
    let chosen = keys.iter().find(belongs).or(keys.first());
    Slot {
        path: chain.path.clone(),
        gone,
        bundle: Bundle {
            role,
            key: chosen.map(|key| (*key).clone()),
            key_source: key.path.clone(),
            findings: if key.path == chain.path { Vec::new() } else { key.findings.clone() },
            chain,
        },
    }
}

/// Everything below one source.
struct Folder {
    files: Vec<Arc<Material>>,
    /// Public key -> the files that hold its private half.
    keys: HashMap<Arc<[u8]>, Vec<(PathBuf, Key)>>,
    /// Folder -> files that should hold a key and do not.
    broken: HashMap<PathBuf, Vec<Arc<Material>>>,
}

impl Folder {
    fn read(reader: &mut Reader, walk: &Walk, now: OffsetDateTime, force: bool) -> Self {
        let mut folder = Self {
            files: Vec::with_capacity(walk.files.len()),
            keys: HashMap::new(),
            broken: HashMap::new(),
        };
        for path in walk.files.iter().filter(|path| considered(path)) {
            let material = reader.read(path, now, force);
            for key in &material.keys {
                let place = (path.clone(), key.clone());
                folder.keys.entry(Arc::clone(&key.spki)).or_default().push(place);
            }
            if is_broken_key(&material) {
                let place = parent(path).to_owned();
                folder.broken.entry(place).or_default().push(Arc::clone(&material));
            }
            folder.files.push(material);
        }
        folder
    }

    fn slots(&self, role: Role, known: &dyn Fn(&Path) -> bool) -> Vec<Slot> {
        let full: HashSet<&Path> = self
            .files
            .iter()
            .filter(|file| file.path.file_name() == Some(OsStr::new("fullchain.pem")))
            .map(|file| parent(&file.path))
            .collect();
        let lone = self.lone_keys();
        self.files
            .iter()
            .filter(|file| !(is_part(&file.path) && full.contains(parent(&file.path))))
            .filter(|file| known(&file.path) || self.is_candidate(file))
            .map(|file| self.slot(file, role, &lone))
            .collect()
    }

    /// Whether a file that was no slot so far is one.
    fn is_candidate(&self, file: &Material) -> bool {
        if file.certs.is_empty() {
            // Keys are known by their content or, where that is broken, by their name.
            return file.keys.is_empty() && !is_broken_key(file) && !file.findings.is_empty();
        }
        let only_authorities = file.certs.iter().all(|cert| cert.ca);
        let paired = self.key_for(file).is_some();
        let named = file.certs.iter().any(|cert| cert.named);
        !only_authorities || (paired && named)
    }

    fn slot(&self, file: &Arc<Material>, role: Role, lone: &HashMap<&Path, Lone<'_>>) -> Slot {
        let folder = parent(&file.path);
        let mut findings = Vec::new();
        let paired = self.key_for(file).or_else(|| {
            // One key beside one chain that it does not fit is the half of a rotation, or the
            // wrong file. With more of them nobody could say which was meant.
            match lone.get(folder) {
                Some(Lone::One(path, key)) => Some((*path, *key)),
                _ => None,
            }
        });
        if paired.is_none() {
            let broken = self.broken.get(folder).into_iter().flatten();
            let others = broken.filter(|other| other.path != file.path);
            findings.extend(others.flat_map(|other| other.findings.iter().cloned()));
        }
        Slot {
            path: file.path.clone(),
            gone: false,
            bundle: Bundle {
                role,
                chain: Arc::clone(file),
                key: paired.map(|(_, key)| key.clone()),
                key_source: paired.map_or(folder, |(path, _)| path).to_owned(),
                findings,
            },
        }
    }

    /// The key of any certificate in `file`, from the nearest place that has it.
    fn key_for(&self, file: &Material) -> Option<(&Path, &Key)> {
        let places = file.certs.iter().find_map(|cert| self.keys.get(&cert.spki))?;
        let near = |place: &&(PathBuf, Key)| -> u8 {
            if place.0 == file.path {
                0
            } else {
                u8::from(parent(&place.0) != parent(&file.path)) + 1
            }
        };
        places.iter().min_by_key(near).map(|(path, key)| (path.as_path(), key))
    }

    /// The keys that fit no chain, for each folder.
    fn lone_keys(&self) -> HashMap<&Path, Lone<'_>> {
        let fitting: HashSet<&Arc<[u8]>> =
            self.files.iter().flat_map(|file| &file.certs).map(|cert| &cert.spki).collect();
        let mut lone = HashMap::new();
        for (path, key) in self.keys.values().flatten() {
            if !fitting.contains(&key.spki) {
                lone.entry(parent(path))
                    .and_modify(|known| *known = Lone::Many)
                    .or_insert(Lone::One(path, key));
            }
        }
        lone
    }
}

/// What fits no chain in one folder.
enum Lone<'a> {
    One(&'a Path, &'a Key),
    Many,
}

fn is_broken_key(file: &Material) -> bool {
    let says_so = |finding: &Finding| ["key_encrypted", "key_unusable"].contains(&finding.code);
    let named = file
        .path
        .file_name()
        .is_some_and(|name| name.to_string_lossy().to_ascii_lowercase().contains("key"));
    file.certs.is_empty()
        && file.keys.is_empty()
        && !file.findings.is_empty()
        && (named || file.findings.iter().any(says_so))
}

/// `cert.pem` and `chain.pem`, which certbot writes beside `fullchain.pem`.
fn is_part(path: &Path) -> bool {
    let parts = [OsStr::new("cert.pem"), OsStr::new("chain.pem")];
    path.file_name().is_some_and(|name| parts.contains(&name))
}

fn considered(path: &Path) -> bool {
    const ENDINGS: [&str; 8] = ["pem", "crt", "cer", "cert", "key", "chain", "bundle", "combined"];
    path.extension()
        .is_some_and(|ending| ENDINGS.iter().any(|known| ending.eq_ignore_ascii_case(known)))
}

fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new(""))
}
