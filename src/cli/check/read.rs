//! Files to objects: no more is read than the limits say, whatever a file claims.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use crate::manifests::{Fault, LINK, Limits, OTHER, Objects, read};

/// Directories within each other.
const DEPTH: usize = 32;

/// Reads all that is named. What cannot be read is among the faults; the rest is there all the same.
pub fn all(names: &[String], namespace: &str, limits: &Limits) -> Objects {
    let mut reader = Reader {
        objects: Objects::default(),
        limits,
        namespace,
        left: limits.all_bytes,
        room: limits.all_weight,
        full: false,
        files: 0,
    };
    for name in names {
        let path = Path::new(name);
        if name == "-" {
            reader.objects.named.insert("stdin".into());
            reader.take("stdin", io::stdin().lock());
        } else if path.is_dir() {
            let (files, faults) = (reader.files, reader.objects.faults.len());
            reader.directory(path, 0);
            // A directory that has moved must not pass for one in which all is well.
            if (files, faults) == (reader.files, reader.objects.faults.len()) {
                reader.fault(path, 0, "has no file that ends in .yaml, .yml or .json");
            }
        } else {
            reader.objects.named.insert(path.display().to_string());
            reader.file(path);
        }
    }
    // A pipe whose first command failed must not pass for one in which all is well.
    if reader.objects.has_nothing() {
        let name = |name: &String| if name == "-" { "stdin" } else { name }.to_owned();
        let what: Vec<String> = names.iter().map(name).collect();
        reader.fault(Path::new(&what.join(", ")), 0, "has no object of Kubernetes: see that it is the right file, or that what should print manifests does");
    }
    reader.objects
}

struct Reader<'a> {
    objects: Objects,
    limits: &'a Limits,
    namespace: &'a str,
    /// Bytes that may still be read.
    left: usize,
    /// How much more all documents may weigh.
    room: usize,
    /// Something found no room.
    full: bool,
    files: usize,
}

impl Reader<'_> {
    /// Every manifest below a directory, by name. Links to directories are not followed, so that none leads in a circle.
    fn directory(&mut self, path: &Path, depth: usize) {
        if depth > DEPTH {
            return self.fault(path, 0, &format!("has directories more than {DEPTH} deep"));
        }
        let entries = fs::read_dir(path).and_then(Iterator::collect::<io::Result<Vec<_>>>);
        let entries = match entries {
            Ok(entries) => entries,
            Err(error) => return self.fault(path, 0, &format!("cannot be read: {error}")),
        };
        let mut entries: Vec<_> = entries
            .into_iter()
            .filter_map(|entry| {
                let (path, kind) = (entry.path(), entry.file_type().ok()?);
                // What leads nowhere is a file that cannot be read.
                let whole = fs::metadata(&path).map_or(kind, |own| own.file_type());
                Some((path, whole, kind.is_symlink()))
            })
            .collect();
        entries.sort_by(|(one, ..), (other, ..)| one.cmp(other));
        if entries.iter().any(|(path, ..)| is_kustomization(path)) {
            let path = path.display().to_string();
            self.objects.kustomized.insert(path);
        }
        for (path, kind, is_link) in entries {
            if kind.is_dir() && !is_hidden(&path) {
                if is_link {
                    let skipped = &mut self.objects.skipped;
                    *skipped.entry(LINK.into()).or_default() += 1;
                } else {
                    self.directory(&path, depth + 1);
                }
            } else if (kind.is_file() || kind.is_symlink()) && is_manifest(&path) {
                self.file(&path);
            }
        }
    }

    fn file(&mut self, path: &Path) {
        self.files += 1;
        if self.files > self.limits.files {
            // Once is enough.
            if self.files == self.limits.files + 1 {
                let most = self.limits.files;
                self.fault(
                    path,
                    0,
                    &format!("is one of more than {most} files: check a part of them at a time"),
                );
            }
            return;
        }
        let name = path.to_string_lossy();
        if ["https://", "http://"]
            .iter()
            .any(|scheme| name.starts_with(scheme))
        {
            return self.fault(
                path,
                0,
                &format!("is not on this machine: curl -fsSL '{name}' | evenkeel check -"),
            );
        }
        match fs::File::open(path) {
            Ok(file) => self.take(&path.display().to_string(), file),
            Err(error) => self.fault(path, 0, &format!("cannot be read: {error}")),
        }
    }

    fn take(&mut self, name: &str, from: impl Read) {
        // Of the first that finds no room it was said.
        if self.full {
            return;
        }
        let most = self.limits.file_bytes.min(self.left);
        let mut bytes = Vec::new();
        // One more than may be: so it is known that there is more, and no more is read.
        let reach = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
        if let Err(error) = from.take(reach).read_to_end(&mut bytes) {
            return self.fault(Path::new(name), 0, &format!("cannot be read: {error}"));
        }
        if bytes.len() > most && most < self.limits.file_bytes {
            let all = self.limits.all_bytes >> 20;
            self.left = 0;
            return self.fault(Path::new(name), 0, &format!("is not read: all files together have more than {all} MiB, check a part of them at a time"));
        }
        self.left -= bytes.len().min(self.left);
        let file: Rc<str> = name.into();
        let (objects, namespace) = (&mut self.objects, self.namespace);
        let all = self.limits.all_weight >> 20;
        let (room, full) = (&mut self.room, &mut self.full);
        let told = read(&bytes, self.limits, |node| {
            let Some(left) = room.checked_sub(node.weight) else {
                *full = true;
                return Err(format!(
                    "is not read from here on: all files together have more than {all} MiB with their aliases written out, check a part of them at a time"
                ));
            };
            *room = left;
            objects.add(&file, node, namespace);
            Ok(())
        });
        // Of a file that is larger than what is read of it nobody knows.
        let may_be = self.full || self.objects.named.contains(name) || bytes.len() > most;
        if told.is_err() && !may_be && !speaks_of_objects(&bytes) {
            let skipped = &mut self.objects.skipped;
            *skipped.entry(OTHER.into()).or_default() += 1;
        } else if let Err(error) = told {
            self.fault(Path::new(name), error.line, &error.why);
        }
    }

    fn fault(&mut self, path: &Path, line: usize, message: &str) {
        self.objects.faults.push(Fault {
            file: path.display().to_string(),
            line,
            message: message.into(),
        });
    }
}

/// Whether a file may be meant for Kubernetes, though it cannot be read.
fn speaks_of_objects(bytes: &[u8]) -> bool {
    const WORD: &[u8] = b"apiVersion";
    bytes.windows(WORD.len()).any(|part| part == WORD)
}

fn is_manifest(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    matches!(extension, Some("yaml" | "yml" | "json")) && !is_hidden(path)
}

/// By the names that kustomize itself looks for.
fn is_kustomization(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    matches!(
        name,
        Some("kustomization.yaml" | "kustomization.yml" | "Kustomization")
    )
}

fn is_hidden(path: &Path) -> bool {
    let name = PathBuf::from(path.file_name().unwrap_or_default());
    name.to_string_lossy().starts_with('.')
}
