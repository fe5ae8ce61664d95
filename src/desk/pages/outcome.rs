//! How far a candidate is, and, once two people have decided, what each said.

use maud::{Markup, html};

use super::layout::{Facts, PageKind, fact, moment, page, place};
use super::pair::{confidence_words, opinion_words};
use super::views::{OutcomeView, OwnStanding, Revealed};
use crate::delivery::event::{ReviewStage, ReviewVerdict};

/// The page of one outcome.
pub fn outcome(view: &OutcomeView) -> Markup {
    let (title, about) = match (view.state, view.own) {
        (ReviewStage::Pending, OwnStanding::Sent) => {
            ("Your verdict is on its way", "The device counts it, and the answer appears here.")
        }
        (ReviewStage::Pending, OwnStanding::Counted) => {
            ("Your verdict counts", "Nobody sees what you said before a second person has judged.")
        }
        (state, _) => words(state),
    };
    let content = html! {
        div id="outcome" data-live {
            header class=(format!("verdict-banner {}", tone(view.state))) {
                h1 { (title) }
                p { (about) }
            }
            dl class="facts row" {
                (fact("Where", &place(view.place.as_deref(), &view.device, &view.camera)))
                (fact("Seen", &moment(view.decided_at, view.now)))
                @if let Some(ended) = view.ended_at { (fact("Decided", &moment(ended, view.now))) }
            }
            @if !view.verdicts.is_empty() {
                section aria-labelledby="said" {
                    h2 id="said" { "What each said" }
                    ul class="said" {
                        @for verdict in &view.verdicts { (said(verdict, view)) }
                    }
                }
            }
            @if let Some(revealed) = &view.revealed { (details(revealed)) }
            (proof(view))
            @if view.erased {
                p class="quiet-text" { "Its pictures are erased." }
            } @else if let Some(at) = view.erased_at {
                p class="quiet-text" { "It is erased " (moment(at, view.now)) "." }
            }
        }
        p { a class="button" href="/queue" { "Next" } }
    };
    let facts = Facts { candidate: Some(&view.candidate), ..Facts::default() };
    page(PageKind::Outcome, title, Some(&view.me), &facts, &content)
}

/// What a stage means, as a heading and a sentence.
pub fn words(stage: ReviewStage) -> (&'static str, &'static str) {
    match stage {
        ReviewStage::Pending => (
            "Not decided yet",
            "Two people have to judge, neither of whom sees the other's verdict.",
        ),
        ReviewStage::ThirdNeeded => (
            "A third person has to judge",
            "Two differ. How they differ is told once it is decided.",
        ),
        ReviewStage::Confirmed => {
            ("Confirmed", "Two people say, each for themselves, that it is the same person.")
        }
        ReviewStage::Refuted => (
            "Refuted",
            "Two people say, each for themselves, that it is not, or that nobody was there.",
        ),
        ReviewStage::Undecided => {
            ("Undecided", "The pictures do not suffice. Nothing may follow from this candidate.")
        }
        ReviewStage::Expired => {
            ("Expired", "Too few people judged it in time. Nothing may follow from this candidate.")
        }
        ReviewStage::Withdrawn => (
            "Withdrawn",
            "The list or the entry was revoked. Nothing may follow from this candidate.",
        ),
        ReviewStage::Control => (
            "It was a control",
            "The two are known to be different people. Nothing may follow from this pair.",
        ),
        ReviewStage::Unknown => ("Unknown to its device", "The device knows no such candidate."),
    }
}

fn tone(stage: ReviewStage) -> &'static str {
    match stage {
        ReviewStage::Confirmed => "confirmed",
        ReviewStage::Refuted => "refuted",
        ReviewStage::Pending | ReviewStage::ThirdNeeded => "open",
        ReviewStage::Undecided
        | ReviewStage::Expired
        | ReviewStage::Withdrawn
        | ReviewStage::Control
        | ReviewStage::Unknown => "void",
    }
}

fn said(verdict: &ReviewVerdict, view: &OutcomeView) -> Markup {
    html! {
        li {
            strong { (opinion_words(verdict.opinion)) }
            span { (confidence_words(verdict.confidence)) }
            span class="quiet-text" {
                @if verdict.reviewer.eq_ignore_ascii_case(&view.me.who) { "you" }
                @else { code { (verdict.reviewer) } }
                ", by their clock " (moment(verdict.judged_at, view.now))
            }
        }
    }
}

fn details(revealed: &Revealed) -> Markup {
    html! {
        section aria-labelledby="why" {
            h2 id="why" { "What the device went by" }
            dl class="facts" {
                (fact("Similarity", &html! { (format!("{:.3}", revealed.score)) }))
                (fact("Needed", &html! { (format!("{:.3}", revealed.threshold)) }))
                (fact("As similar", &html! {
                    @if revealed.alternatives.is_empty() { "nobody else on the list" }
                    @else {
                        @for (n, other) in revealed.alternatives.iter().enumerate() {
                            @if n > 0 { ", " }
                            code { (other) }
                        }
                    }
                }))
                @if let Some(aim) = &revealed.aim { (fact("Aim", &html! { (aim) })) }
                @if let Some(basis) = &revealed.legal_basis {
                    (fact("Legal basis", &html! { (basis) }))
                }
                @if let Some(purpose) = &revealed.purpose { (fact("Purpose", &html! { (purpose) })) }
            }
        }
    }
}

fn proof(view: &OutcomeView) -> Markup {
    html! {
        details class="help" {
            summary { "How to prove it" }
            p {
                "The device's audit log has this candidate, a commitment to each verdict from \
                 before it was told, and the outcome. Whoever runs the desk writes all of it into \
                 a folder that anybody can verify:"
            }
            pre tabindex="0" { "watchpost desk export " (view.candidate) " case" }
        }
    }
}
