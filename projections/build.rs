//! Lists the migrations of each dialect, so that the binary carries them and a new file is seen by the next build.

use std::fmt::Write as _;
use std::path::Path;
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let manifest = env::var("CARGO_MANIFEST_DIR").map_err(io::Error::other)?;
    let out = env::var("OUT_DIR").map_err(io::Error::other)?;
    let mut code = String::new();
    for (constant, dialect) in [("SQLITE", "sqlite"), ("POSTGRES", "postgres"), ("MYSQL", "mysql")] {
        let folder = Path::new(&manifest).join("../migrations").join(dialect).canonicalize()?;
        println!("cargo:rerun-if-changed={}", folder.display());
        let mut files: Vec<_> =
            fs::read_dir(&folder)?.map(|entry| entry.map(|it| it.path())).collect::<Result<_, _>>()?;
        files.sort();
        code.push_str(&format!("const {constant}: &[(i64, &str, &str)] = &[\n"));
        for file in files {
            let Some((number, name)) = file.file_stem().and_then(|stem| stem.to_str()?.split_once('_'))
            else {
                continue;
            };
            if file.extension().is_none_or(|extension| extension != "sql") {
                continue;
            }
            println!("cargo:rerun-if-changed={}", file.display());
            let number: i64 = number.parse().map_err(io::Error::other)?;
            writeln!(code, "    ({number}, {name:?}, include_str!({file:?})),").map_err(io::Error::other)?;
        }
        code.push_str("];\n");
    }
    fs::write(Path::new(&out).join("migrations.rs"), code)
}
