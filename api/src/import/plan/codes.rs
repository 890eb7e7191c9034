//! Redemption codes: what was not redeemed there can be redeemed here, once, by the code that people have.

use super::*;
use crate::directory::redemption;

impl Planner<'_> {
    pub(super) fn codes(&mut self) {
        let mut hashes = self.present.codes.clone();
        for row in &self.data.redemptions {
            self.report().count("redemption codes").source += 1;
            if let Err(fault) = self.code(row, &mut hashes) {
                self.report().tell(note::UNREADABLE, format!("redemption code {}: {fault}", row.text("id")));
            }
        }
    }

    fn code(&mut self, row: &Record, hashes: &mut HashSet<String>) -> Result<(), String> {
        let (id, quota) = (row.text("id").to_owned(), row.int("quota")?);
        let ends = row.int("expired_time")?;
        let expires_at = moment(ends);
        let is_deleted = row.opt("deleted_at").is_some_and(|at| !at.trim().is_empty());
        let is_over = expires_at.is_some_and(|end| end <= self.terms.at);
        let end = if ends > 0 { format!(", expires at {ends}") } else { String::new() };
        let line = format!("code {id}: {quota}{end}");
        if row.int("status")? != 1 || is_deleted || is_over {
            self.report().tell_sum(note::REDEMPTIONS_USED, quota, line);
            return Ok(());
        }
        if self.mapped("redemption", &id).is_some() {
            self.report().count("redemption codes").already += 1;
            return Ok(());
        }
        let credits = self.per_credit.credits(quota).map(|(credits, _)| credits);
        let credits = credits.filter(|it| it.is_positive() && *it <= MOST_CREDITS_IN);
        let (Some(credits), Some(code)) = (credits, redemption::imported(row.text("key"))) else {
            self.report().tell_sum(note::REDEMPTION_ODD, quota, line);
            return Ok(());
        };
        if !hashes.insert(code.hash.clone()) {
            self.report().tell_sum(note::REDEMPTION_ODD, quota, line);
            return Ok(());
        }
        self.report().tell_sum(note::REDEMPTIONS, quota, line);
        self.report().count("redemption codes").imported += 1;
        let name = name_of(row.text("name"), 80).unwrap_or_else(|| "codes".to_owned());
        let kind = format!("{name}\n{}\n{ends}", credits.nano());
        self.plan.codes.push(ImportedCode {
            source_id: id,
            batch: id_of(&self.terms.source, "redemption batch", &kind, 0),
            name,
            credits,
            expires_at,
            hash: code.hash,
            ending: code.ending,
        });
        Ok(())
    }
}
