//! The manifest files of a verb: the arguments `FILE` and the option `-f`.

use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail, ensure};
use clap::{
    Arg, ArgAction, ArgMatches, Args, FromArgMatches, ValueHint, builder::PathBufValueParser,
    error::ErrorKind,
};

use super::manifest::Manifest;

/// Paths of the manifests, in the order of the command line. `-` is standard input.
#[derive(Debug)]
pub(super) struct ManifestFiles(Vec<PathBuf>);

/// Extensions of the files that are read from a folder, as in kubectl.
const EXTENSIONS: [&str; 3] = [".json", ".yaml", ".yml"];

const STDIN: &str = "-";
const FILE: &str = "file";
const FILENAME: &str = "filename";

fn path_argument(id: &'static str, help: &'static str) -> Arg {
    Arg::new(id)
        .value_name("FILE")
        .value_parser(PathBufValueParser::new())
        .value_hint(ValueHint::FilePath)
        .action(ArgAction::Append)
        .help(help)
}

// === impl ManifestFiles ===

impl ManifestFiles {
    /// Reads every file. Stops at the first error.
    pub(super) fn read(&self, stdin: &mut dyn Read) -> anyhow::Result<Vec<Manifest>> {
        let mut manifests = vec![];
        for path in &self.0 {
            for file in files(path)? {
                manifests.push(read(&file, stdin)?);
            }
        }
        Ok(manifests)
    }
}

/// The documents of a file as JSON, with the values that admission gets. As in kubectl, documents that are null are left out.
///
/// # Errors
/// If the file is not a manifest; the error names the document and the line.
pub fn documents(bytes: Vec<u8>) -> anyhow::Result<Vec<serde_json::Value>> {
    let manifest = Manifest::read("manifest", decoded(bytes).context("not UTF-8 and not UTF-16")?)?;
    let roots = manifest.documents.iter().map(|document| &document.root).filter(|root| !root.is_null());
    roots.map(|root| Ok(serde_json::from_slice(&root.json())?)).collect()
}

/// Implemented by hand, because the order of `FILE` and `-f` is only in clap's argument matches.
impl Args for ManifestFiles {
    fn augment_args(command: clap::Command) -> clap::Command {
        let file = path_argument(
            FILE,
            "Manifest (YAML or JSON, one or more documents), or a folder of manifests; - is standard input",
        );
        let filename = path_argument(FILENAME, "The same as an argument FILE; can be repeated");
        command
            .arg(file.num_args(1..).required_unless_present(FILENAME))
            .arg(filename.short('f').long("filename").num_args(1))
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for ManifestFiles {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let of = |id| {
            let indices = matches.indices_of(id).into_iter().flatten();
            indices.zip(matches.get_many::<PathBuf>(id).into_iter().flatten())
        };
        let mut files: Vec<_> = of(FILE).chain(of(FILENAME)).collect();
        files.sort_by_key(|(index, _)| *index);
        if files.iter().filter(|(_, path)| path.as_os_str() == STDIN).count() > 1 {
            let why = "standard input can be read only once; use - once";
            return Err(clap::Error::raw(ErrorKind::ArgumentConflict, why));
        }
        Ok(Self(files.into_iter().map(|(_, path)| path.clone()).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// The files at a path: the file itself, or the manifests in a folder in the order of their names.
fn files(path: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let name = path.display();
    let is_url = ["http://", "https://"].iter().any(|scheme| path.to_string_lossy().starts_with(scheme));
    ensure!(!is_url, "{name}: a URL cannot be read; pipe `curl -fsSL URL` into the command, with - as FILE");
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let entries = fs::read_dir(path).and_then(|entries| entries.collect::<Result<Vec<_>, _>>());
    let entries = entries.with_context(|| format!("{name}: cannot be read"))?;
    let mut files: Vec<_> = entries.into_iter().map(|entry| entry.path()).collect();
    files.retain(|file| EXTENSIONS.iter().any(|end| file.to_string_lossy().ends_with(end)) && !file.is_dir());
    ensure!(
        !files.is_empty(),
        "{name}: the folder has no .json, .yaml or .yml file; give the paths of the files"
    );
    files.sort();
    Ok(files)
}

fn read(path: &Path, stdin: &mut dyn Read) -> anyhow::Result<Manifest> {
    let (name, bytes) = match path.to_str() {
        Some(STDIN) => {
            let mut bytes = vec![];
            ("standard input".to_owned(), stdin.read_to_end(&mut bytes).map(|_| bytes))
        }
        _ => (path.display().to_string(), fs::read(path)),
    };
    let bytes = match bytes {
        Ok(bytes) => bytes,
        Err(error) => bail!("{name}: cannot be read: {error}"),
    };
    let text =
        decoded(bytes).with_context(|| format!("{name}: not UTF-8 and not UTF-16; save it as UTF-8"))?;
    Manifest::read(&name, text)
}

/// The text of a file in UTF-8, or in UTF-16 with a byte order mark, as PowerShell writes it.
fn decoded(bytes: Vec<u8>) -> Option<String> {
    let unit: fn([u8; 2]) -> u16 = match bytes.get(..2) {
        Some([0xff, 0xfe]) => u16::from_le_bytes,
        Some([0xfe, 0xff]) => u16::from_be_bytes,
        _ => return String::from_utf8(bytes).ok(),
    };
    let units = bytes[2..].chunks_exact(2).map(|pair| unit([pair[0], pair[1]])).collect::<Vec<_>>();
    String::from_utf16(&units).ok().filter(|_| bytes.len().is_multiple_of(2))
}
