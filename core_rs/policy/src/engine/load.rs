//! From files to an engine: parse, check, index. Whatever is doubtful is refused, with its place.

use std::collections::BTreeMap;
use std::sync::Arc;

use cedar_policy::{Authorizer, Policy, PolicyId, PolicySet, Schema, ValidationMode, Validator};
use cmdop_contract::v1::{self, PolicyFile};
use miette::Diagnostic;
use sha2::{Digest, Sha256};

use super::check::{Checked, check};
use super::known::Known;
use super::memory::Memory;
use super::slice::Slices;
use super::{AskedFacts, DEFAULT_PACK, Engine, Error, FLOOR, FLOOR_PREFIX, PACKS, SCHEMA, pack};
use crate::classes;
use crate::decide::hex;
use crate::points::Anchors;

/// A file being loaded.
pub(super) struct Source<'a> {
    pub(super) name: &'a str,
    pub(super) text: &'a str,
    /// Only the floor may use the floor's ids.
    pub(super) is_floor: bool,
}

impl Source<'_> {
    pub(super) fn error(&self, offset: usize, problem: impl Into<String>, mend: impl Into<String>) -> Error {
        let before = self.text.as_bytes().get(..offset).unwrap_or(self.text.as_bytes());
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        Error { file: self.name.to_owned(), line, problem: problem.into(), mend: mend.into() }
    }
}

/// A policy with the place it came from.
struct Placed {
    policy: Policy,
    source: usize,
    offset: usize,
}

pub(super) fn load(set: &v1::PolicySet) -> Result<Engine, Error> {
    let (schema, _) = Schema::from_cedarschema_str(SCHEMA).expect("the shipped schema is valid: a test loads it");
    let entities = set.entities.clone().unwrap_or_default();
    let known = Known::of(&entities)?;
    let files = unpacked(&set.files)?;
    let mut sources = vec![Source { name: "floor.cedar", text: FLOOR, is_floor: true }];
    sources.extend(files.iter().map(|file| Source { name: &file.name, text: &file.text, is_floor: false }));
    let mut anchors = Anchors::shipped();
    let (mut rules, mut places) = (BTreeMap::new(), BTreeMap::new());
    let mut placed = Vec::new();
    let mut warnings = Vec::new();
    for (index, source) in sources.iter().enumerate() {
        for (offset, policy) in parse(source)? {
            let Checked { id, rule, unscoped } = check(source, offset, &policy, &known, &mut anchors)?;
            let place = source.error(offset, "", "");
            places.insert(id.clone(), (place.file.clone(), place.line));
            if unscoped {
                warnings.push(format!(
                    "{}:{}: policy `{id}` has no scope and is asked for every effect; name a principal, action or resource",
                    place.file, place.line
                ));
            }
            if rules.insert(id.clone(), Arc::new(rule)).is_some() {
                let problem = format!("the policy id `{id}` is taken");
                return Err(source.error(offset, problem, "give each policy an @id of its own"));
            }
            placed.push(Placed { policy: policy.new_id(PolicyId::new(&id)), source: index, offset });
        }
    }
    validate(&schema, &sources, &placed)?;
    let actions = schema.action_entities().expect("the shipped schema's actions form no cycle: a test loads it");
    let memory = Memory::of(placed.iter().map(|placed| &placed.policy));
    let asked = asked_facts(placed.iter().map(|placed| &placed.policy));
    let slices = Slices::new(placed.into_iter().map(|placed| placed.policy).collect(), &actions);
    let version = version(&sources, &known);
    Ok(Engine {
        schema,
        authorizer: Authorizer::new(),
        actions,
        slices,
        memory,
        asked,
        rules,
        places,
        anchors,
        known,
        entities,
        files,
        version,
        warnings,
    })
}

/// Files with packs in their place; the default pack if there are none.
fn unpacked(files: &[PolicyFile]) -> Result<Vec<PolicyFile>, Error> {
    let whole = |name: &str| {
        let found = pack(name).ok_or_else(|| Error {
            file: name.to_owned(),
            line: 1,
            problem: format!("there is no policy pack `{name}`"),
            mend: format!("use one of {}, or the path of a file", PACKS.map(|pack| pack.name).join(", ")),
        })?;
        Ok(PolicyFile { name: format!("{name}.cedar"), text: found.text.to_owned(), pack: name.to_owned() })
    };
    if files.is_empty() {
        return Ok(vec![whole(DEFAULT_PACK)?]);
    }
    files.iter().map(|file| if file.pack.is_empty() { Ok(file.clone()) } else { whole(&file.pack) }).collect()
}

/// The policies of a file with their offsets, in order.
fn parse(source: &Source<'_>) -> Result<Vec<(usize, Policy)>, Error> {
    let set: PolicySet = source.text.parse().map_err(|errors: cedar_policy::ParseErrors| {
        let offset = errors.iter().find_map(|error| offset_of(error)).unwrap_or(0);
        source.error(offset, format!("it does not parse: {errors}"), "see https://docs.cedarpolicy.com for the syntax")
    })?;
    if let Some(template) = set.templates().next() {
        let offset = source.text.find(&template.to_cedar()).unwrap_or(0);
        return Err(source.error(
            offset,
            "templates are not supported",
            "replace ?principal and ?resource by what is meant",
        ));
    }
    let mut policies: Vec<&Policy> = set.policies().collect();
    // Cedar numbers policies as they stand in the file, and keeps them in a hash table.
    policies.sort_by_key(|policy| number(policy.id().as_ref()));
    let mut from = 0;
    let mut placed = Vec::with_capacity(policies.len());
    for policy in policies {
        let text = policy.to_cedar().unwrap_or_default();
        let offset = source.text.get(from..).and_then(|rest| rest.find(&text)).map_or(from, |found| from + found);
        from = (offset + text.len()).min(source.text.len());
        placed.push((offset, policy.clone()));
    }
    Ok(placed)
}

fn number(id: &str) -> usize {
    id.trim_start_matches(|c: char| !c.is_ascii_digit()).parse().unwrap_or(usize::MAX)
}

fn offset_of(diagnostic: &dyn Diagnostic) -> Option<usize> {
    diagnostic.labels()?.next().map(|label| label.offset())
}

/// Strict validation of all files together. A warning is an error, too: a policy that can never
/// apply protects nothing.
fn validate(schema: &Schema, sources: &[Source<'_>], placed: &[Placed]) -> Result<(), Error> {
    let set = PolicySet::from_policies(placed.iter().map(|placed| placed.policy.clone()))
        .expect("ids were checked to be unique");
    let result = Validator::new(schema.clone()).validate(&set, ValidationMode::Strict);
    let errors =
        result.validation_errors().map(|error| (error.policy_id().clone(), error.to_string(), offset_of(error)));
    let warnings = result
        .validation_warnings()
        .map(|warning| (warning.policy_id().clone(), warning.to_string(), offset_of(warning)));
    let Some((id, problem, offset)) = errors.chain(warnings).next() else { return Ok(()) };
    let placed = placed.iter().find(|placed| *placed.policy.id() == id);
    let (source, offset) =
        placed.map_or((&sources[0], 0), |placed| (&sources[placed.source], offset.unwrap_or(placed.offset)));
    Err(source.error(offset, problem, "compare it with cmdop.cedarschema"))
}

/// Words in a policy's text are enough: to take a fact for asked about costs a little memory, and nothing else.
fn asked_facts<'p>(policies: impl Iterator<Item = &'p Policy>) -> AskedFacts {
    let texts: Vec<String> = policies.map(ToString::to_string).collect();
    let says = |word: &str| texts.iter().any(|text| text.contains(word));
    AskedFacts {
        made: says("made"),
        only_copy: says("only_copy"),
        failed: says("failed"),
        denials: says("denials"),
        effects: says("effects"),
        count: says("count"),
    }
}

fn version(sources: &[Source<'_>], known: &Known) -> String {
    let mut hash = Sha256::new();
    let (classes, known) = (classes::canonical_text(), known.canonical_text());
    let names = sources.iter().flat_map(|source| [source.name, source.text]);
    for part in [SCHEMA, &classes, FLOOR_PREFIX, &known].into_iter().chain(names) {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    hex(&hash.finalize())
}
