//! The rule for coming into force of a silent list, as flags.

use crate::watchlist::promotion::{PromotionRule, RULE_DAYS, RULE_FACES};

// No doc comment: clap would take it for the description of the command.
#[derive(clap::Args)]
pub struct PromotionFlags {
    /// A silent list may come into force only after so many days were counted against decoys on
    /// the device. Signed with the silent list; the device refuses a version in force before.
    #[arg(long, value_name = "DAYS", value_parser = days, requires = "promote_after_faces")]
    promote_after_days: Option<u16>,
    /// Faces that must have passed on these days.
    #[arg(long, value_name = "N", value_parser = faces, requires = "promote_after_days")]
    promote_after_faces: Option<u32>,
    /// Share of the counted entries that the site record must cover.
    #[arg(
        long,
        value_name = "SHARE",
        value_parser = covered,
        default_value = "0.9",
        requires = "promote_after_days"
    )]
    promote_covered: u16,
}

impl PromotionFlags {
    /// The rule that was given, where one was.
    pub fn rule(&self) -> Option<PromotionRule> {
        let (days, faces) = (self.promote_after_days?, self.promote_after_faces?);
        Some(PromotionRule { days, faces, covered: self.promote_covered })
    }
}

fn days(text: &str) -> Result<u16, String> {
    let (low, high) = RULE_DAYS.into_inner();
    let days = text.parse().ok().filter(|days| RULE_DAYS.contains(days));
    days.ok_or_else(|| format!("write {low} to {high}"))
}

fn faces(text: &str) -> Result<u32, String> {
    let faces = text.parse().ok().filter(|faces| *faces >= RULE_FACES);
    faces.ok_or_else(|| format!("write {RULE_FACES} or more"))
}

/// In thousandths.
fn covered(text: &str) -> Result<u16, String> {
    let share = text.parse::<f64>().ok().filter(|share| (0.001..=1.0).contains(share));
    share.map(|share| (share * 1000.0).round() as u16).ok_or_else(|| "write 0.001 to 1".into())
}
