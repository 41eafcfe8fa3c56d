//! Who must agree to what a policy holds: `@approvals("2")` and `@approvers("operators 15m, leads 1h")`.

use cmdop_contract::v1::{ApproverStep, PolicyRef, Quorum};

use super::known::Known;
use super::{Engine, uid};

/// People that a policy may ask for.
const MAX_NEEDED: u32 = 20;

/// Groups that a question may pass through.
const MAX_STEPS: usize = 8;

/// What a policy that holds says of its approvers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Approvers {
    needed: u32,
    chain: Vec<ApproverStep>,
}

impl Approvers {
    /// Reads the annotations `@approvals` and `@approvers`; `None` if neither is there.
    ///
    /// # Errors
    /// What is wrong, and how it is written.
    pub(super) fn parse(
        approvals: Option<&str>,
        approvers: Option<&str>,
        known: &Known,
    ) -> Result<Option<Self>, (String, String)> {
        if approvals.is_none() && approvers.is_none() {
            return Ok(None);
        }
        let needed = approvals.map_or(Some(1), |text| text.trim().parse().ok());
        let needed = needed.filter(|needed| (1..=MAX_NEEDED).contains(needed)).ok_or_else(|| {
            (
                format!("@approvals(\"{}\") is no number of people", approvals.unwrap_or_default()),
                format!("use a whole number from 1 to {MAX_NEEDED}"),
            )
        })?;
        let chain = match approvers {
            None => vec![ApproverStep::default()],
            Some(text) => text.split(',').map(|step| step_of(step, known)).collect::<Result<Vec<_>, _>>()?,
        };
        if chain.len() > MAX_STEPS {
            return Err((
                format!("@approvers names {} groups", chain.len()),
                format!("name {MAX_STEPS} groups at most"),
            ));
        }
        if let Some(people) = known.people(chain.iter().map(|step| step.group.as_str()))
            && people < needed as usize
        {
            let problem = format!("it wants {needed} approvals, and only {people} people are in the groups it names");
            return Err((problem, "ask for fewer, or give the groups more members".to_owned()));
        }
        Ok(Some(Self { needed, chain }))
    }
}

/// `leads`, or `leads 1h`: a group, and how long the question waits for it.
fn step_of(text: &str, known: &Known) -> Result<ApproverStep, (String, String)> {
    let mut words = text.split_whitespace();
    let (group, time) = (words.next().unwrap_or_default(), words.next());
    if group.is_empty() || words.next().is_some() {
        let problem = format!("@approvers has `{}`, which is no group with its time", text.trim());
        return Err((problem, "write @approvers(\"operators 15m, leads 1h, owners\")".to_owned()));
    }
    if !known.has_group(&uid("UserGroup", group)) {
        return Err((
            format!("@approvers names the group `{group}`, which no user is in"),
            "add it to the user groups, or name another".to_owned(),
        ));
    }
    let no_time =
        |time| (format!("@approvers has `{time}`, which is no time"), "use s, m, h or d, as in `15m`".to_owned());
    let ttl_ms = time.map(|time| milliseconds(time).ok_or_else(|| no_time(time))).transpose()?.unwrap_or_default();
    Ok(ApproverStep { group: group.to_owned(), ttl_ms })
}

/// At least a second, at most a year.
fn milliseconds(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|unit: char| unit.is_ascii_alphabetic());
    let number: u64 = digits.parse().ok()?;
    let seconds = match &text[digits.len()..] {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return None,
    };
    let total = number.checked_mul(seconds)?;
    (1..=366 * 86_400).contains(&total).then_some(total * 1_000)
}

impl Engine {
    /// Who must agree to what these policies hold: one quorum for each that says so, else a single person.
    pub(crate) fn quorums(&self, policies: &[PolicyRef]) -> Vec<Quorum> {
        let mut quorums: Vec<Quorum> = Vec::new();
        for policy in policies {
            let Some(approvers) = self.rules.get(&policy.id).and_then(|rule| rule.approvers.as_ref()) else { continue };
            if quorums.iter().all(|known| known.policy != policy.id) {
                quorums.push(Quorum {
                    policy: policy.id.clone(),
                    needed: approvers.needed,
                    chain: approvers.chain.clone(),
                    ..Quorum::default()
                });
            }
        }
        // The same question has the same digest, in whatever order its policies were found.
        quorums.sort_by(|one, other| one.policy.cmp(&other.policy));
        if quorums.is_empty() {
            quorums.push(Quorum { needed: 1, chain: vec![ApproverStep::default()], ..Quorum::default() });
        }
        quorums
    }

    /// Groups that a user is in, that of everybody included.
    #[must_use]
    pub fn user_groups(&self, user: &str) -> Vec<String> {
        self.known.user_groups(user)
    }
}
