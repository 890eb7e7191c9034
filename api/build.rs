//! Puts the built console (`web/dist`) into the binary: a table of its files, each with the encodings that the build made.
//!
//! Without a built console the table is empty and everything still compiles; the gateway then serves a page that says how
//! to build it.

use std::error::Error;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

fn main() -> Result<(), Box<dyn Error>> {
    let manifest = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR")?);
    let dist = manifest.join("../web/dist");
    if !dist.is_dir() {
        watchable(&dist);
    }
    println!("cargo::rerun-if-changed={}", dist.display());
    println!("cargo::rerun-if-changed=build.rs");

    let mut paths = Vec::new();
    if dist.is_dir() {
        files(&dist, &mut paths)?;
    }
    paths.sort();
    let mut table = String::from("static BUILT: &[File] = &[\n");
    for path in &paths {
        let name = path.strip_prefix(&dist)?.to_str().ok_or("a file of the console has an odd name")?;
        if name.starts_with('.') || name.ends_with(".br") || name.ends_with(".gz") {
            continue;
        }
        let bytes = |path: &Path| format!("include_bytes!({:?})", path.display().to_string());
        let encoded = |ending: &str| {
            let encoded = path.with_file_name(format!(
                "{}.{ending}",
                path.file_name().map(|it| it.to_string_lossy()).unwrap_or_default()
            ));
            if encoded.is_file() { format!("Some({})", bytes(&encoded)) } else { "None".to_owned() }
        };
        writeln!(
            table,
            "    File {{ path: {:?}, plain: {}, br: {}, gz: {} }},",
            format!("/{name}"),
            bytes(path),
            encoded("br"),
            encoded("gz"),
        )?;
    }
    table.push_str("];\n");
    fs::write(PathBuf::from(std::env::var("OUT_DIR")?).join("console.rs"), table)?;
    Ok(())
}

/// Cargo runs this again at every build for a folder that is not there, and once more for one that is newer than the last
/// run: an empty folder of an early date is neither. Where it cannot be made, builds are only slower.
fn watchable(dist: &Path) {
    if fs::create_dir(dist).is_ok()
        && let Ok(folder) = File::open(dist)
    {
        let _ = folder.set_modified(SystemTime::UNIX_EPOCH);
    }
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) -> Result<(), Box<dyn Error>> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() { files(&path, found)? } else { found.push(path) }
    }
    Ok(())
}
