//! The modules of the pages as one script.
//!
//! A page that loads thirty modules waits for each level of their imports. They are put together
//! when the server starts: each becomes a function, called in order of its imports, whose exports
//! the later ones see. That takes a small part of the language of modules; a test bundles all of
//! them.

use std::collections::HashSet;

/// A module: its name and its text.
pub(super) type Module<'a> = (&'a str, &'a str);

/// Puts the entries and all that they import together.
///
/// # Errors
///
/// Names the module and the line that is outside of the part of the language that is taken.
pub(super) fn bundle(entries: &[&str], modules: &[Module<'_>]) -> Result<String, String> {
    let mut bundler = Bundler {
        modules,
        done: HashSet::new(),
        exported: HashSet::new(),
        script: String::new(),
    };
    for entry in entries {
        bundler.add(entry, &mut Vec::new())?;
    }
    Ok(bundler.script)
}

struct Bundler<'a> {
    modules: &'a [Module<'a>],
    done: HashSet<String>,
    /// Names that a module before exports: all modules share them.
    exported: HashSet<String>,
    script: String,
}

/// Line of a module.
enum Line<'a> {
    /// Import of another module.
    Import(&'a str),
    /// Declaration that is exported, without the word, and its name.
    Export(&'a str, &'a str),
    Code(&'a str),
    Nothing,
}

impl Bundler<'_> {
    fn add(&mut self, name: &str, above: &mut Vec<String>) -> Result<(), String> {
        if self.done.contains(name) {
            return Ok(());
        }
        if above.iter().any(|other| other == name) {
            return Err(format!("{name} imports itself by way of {above:?}"));
        }
        let found = self.modules.iter().find(|(other, _)| *other == name);
        let (_, text) = found.ok_or_else(|| format!("there is no module {name}"))?;

        above.push(name.to_owned());
        let (mut body, mut exports) = (String::new(), Vec::new());
        for line in text.lines() {
            let line = read(line).map_err(|reason| format!("{name}: {reason}: {line}"))?;
            match line {
                Line::Import(other) => self.add(other, above)?,
                Line::Export(code, export) => {
                    if !self.exported.insert(export.to_owned()) {
                        return Err(format!("{name}: two modules export {export}"));
                    }
                    exports.push(export);
                    body.push_str(code);
                    body.push('\n');
                }
                Line::Code(code) => {
                    body.push_str(code);
                    body.push('\n');
                }
                Line::Nothing => {}
            }
        }
        above.pop();

        let exports = exports.join(",");
        let function = match exports.is_empty() {
            true => format!("(()=>{{\n{body}}})();\n"),
            false => format!("const {{{exports}}}=(()=>{{\n{body}return {{{exports}}};\n}})();\n"),
        };
        self.script.push_str(&function);
        self.done.insert(name.to_owned());
        Ok(())
    }
}

fn read(line: &str) -> Result<Line<'_>, &'static str> {
    let code = line.trim();
    if code.is_empty() || code.starts_with("//") {
        return Ok(Line::Nothing);
    }
    if code.matches('`').count() % 2 == 1 {
        return Err("a template of several lines");
    }
    if let Some(import) = line.strip_prefix("import ") {
        return read_import(import)
            .map(Line::Import)
            .ok_or("an import of another form");
    }
    if let Some(declaration) = line.strip_prefix("export ") {
        let name = exported_name(declaration).ok_or("an export of another form")?;
        return Ok(Line::Export(declaration, name));
    }
    if code.contains("import(") || code.contains("import.meta") {
        return Err("a module that is loaded later");
    }
    Ok(Line::Code(code))
}

/// Reads `{ A, b } from "./c.js";` or `"./c.js";`.
fn read_import(import: &str) -> Option<&str> {
    let path = match import.strip_prefix('{') {
        Some(names) => {
            let (names, path) = names.split_once('}')?;
            if names.contains(" as ") {
                return None;
            }
            path.trim_start().strip_prefix("from ")?
        }
        None => import,
    };
    path.trim().strip_prefix("\"./")?.strip_suffix("\";")
}

fn exported_name(declaration: &str) -> Option<&str> {
    let kinds = ["async function ", "function ", "class ", "const "];
    let rest = kinds
        .iter()
        .find_map(|kind| declaration.strip_prefix(kind))?;
    let is_name = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
    let end = rest.find(|c| !is_name(c)).unwrap_or(rest.len());
    Some(&rest[..end]).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_come_after_those_that_they_import_and_once() {
        let modules = [
            (
                "a.js",
                "import { B, c } from \"./b.js\";\nimport { d } from \"./d.js\";\nnew B(c(d));\n",
            ),
            (
                "b.js",
                "// A comment.\nimport { d } from \"./d.js\";\nconst LIMIT = 1;\nexport class B {}\nexport function c() {\n  return LIMIT + d;\n}\n",
            ),
            ("d.js", "export const d = 2;\n"),
        ];
        let script = bundle(&["a.js"], &modules).expect("a bundle");
        assert_eq!(
            script,
            "const {d}=(()=>{\nconst d = 2;\nreturn {d};\n})();\n\
             const {B,c}=(()=>{\nconst LIMIT = 1;\nclass B {}\nfunction c() {\nreturn LIMIT + d;\n}\nreturn {B,c};\n})();\n\
             (()=>{\nnew B(c(d));\n})();\n"
        );
    }

    #[test]
    fn what_cannot_be_bundled_is_refused() {
        for (text, reason) in [
            ("import a from \"./b.js\";", "import"),
            ("import { a as b } from \"./b.js\";", "import"),
            ("import { a } from \"./nowhere.js\";", "nowhere.js"),
            ("import { a } from \"./a.js\";", "itself"),
            ("export default 1;", "export"),
            ("const a = `", "several lines"),
            ("await import(\"./b.js\");", "later"),
            ("import \"./b.js\";\nexport const b = 1;", "two modules"),
        ] {
            let modules = [("a.js", text), ("b.js", "export const b = 1;")];
            let refused = bundle(&["a.js"], &modules).expect_err(text);
            assert!(refused.contains(reason), "{text}: {refused}");
        }
    }
}
