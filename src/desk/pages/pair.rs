//! One candidate beside the reference photographs, and the form in which a reviewer judges.
//!
//! * Nothing on the page tells score, threshold, alternatives, legal basis, purpose, or whether
//!   somebody else has judged: [`PairView`] does not carry them. Nor the deadline: a device tells
//!   it with its first answer to a verdict.

use maud::{Markup, html};

use super::layout::{Facts, PageKind, fact, moment, page, place};
use super::views::{OwnStanding, PairView};
use crate::judgement::{Confidence, Opinion};

/// The page of one pair.
pub fn pair(view: &PairView) -> Markup {
    let content = html! {
        h1 class="aloud" { "Are these the same person?" }
        dl class="facts row" {
            (fact("Where", &place(view.place.as_deref(), &view.device, &view.camera)))
            (fact("Seen", &moment(view.decided_at, view.now)))
        }
        div class="pair" id="pair" { (candidate(view)) (references(view)) }
        p class="choices" {
            button type="button" class="quiet" id="larger" aria-pressed="false" { "Larger" }
            @if !view.photographs.is_empty() {
                button type="button" class="quiet" id="whole" aria-pressed="false" {
                    "Whole photograph"
                }
            }
        }
        (judgement(view))
    };
    let facts = Facts {
        candidate: Some(&view.candidate),
        payload: Some(&view.payload),
        ..Facts::default()
    };
    page(PageKind::Pair, "Pair", Some(&view.me), &facts, &content)
}

fn candidate(view: &PairView) -> Markup {
    html! {
        figure class="picture" {
            div class="frame" {
                @if view.crop {
                    img src=(format!("/pair/{}/crop", view.candidate)) width="672" height="672"
                        alt="The face that the camera saw";
                } @else {
                    p { "The device sends no picture. Whoever configures it allows one (crop)." }
                }
            }
            figcaption { "Camera" }
        }
    }
}

fn references(view: &PairView) -> Markup {
    let many = view.photographs.len() > 1;
    html! {
        div class="references" {
            @if view.photographs.is_empty() {
                figure class="picture" {
                    div class="frame" {
                        p {
                            "No reference photograph. Its case sheet is missing or sealed to \
                             somebody else; ask your supervisor, and do not judge from memory."
                        }
                    }
                    figcaption { "Reference" }
                }
            }
            @for (n, photograph) in view.photographs.iter().enumerate() {
                figure class="picture" hidden[n > 0] data-eyes=[photograph.eyes.as_deref()]
                    data-photograph=(format!("/pair/{}/photograph/{n}", view.candidate)) {
                    div class="frame" {
                        canvas width="672" height="672" role="img"
                            aria-label=(format!("Reference photograph {}", n + 1)) {}
                    }
                    figcaption { "Reference " span class="note" role="status" { "is opened" } }
                }
            }
            @if many {
                div class="choices" role="group" aria-label="Reference photographs" {
                    @for n in 0..view.photographs.len() {
                        button type="button" class="quiet" data-shows=(n)
                            aria-pressed=(if n == 0 { "true" } else { "false" }) { (n + 1) }
                    }
                }
            }
        }
    }
}

fn judgement(view: &PairView) -> Markup {
    html! {
        @match view.standing {
            OwnStanding::Open => (form(view)),
            OwnStanding::Refused => {
                p class="problem" role="status" {
                    "The device did not count your verdict"
                    @if let Some(why) = &view.refused { ": " (why) }
                    @else { "." }
                }
                (form(view))
            }
            OwnStanding::Sent | OwnStanding::Counted => {
                p {
                    "You have judged this candidate. "
                    a href=(format!("/outcome/{}", view.candidate)) { "See how far it is" }
                }
            }
        }
    }
}

fn form(view: &PairView) -> Markup {
    html! {
        @if view.can_judge {
            form id="verdict" class="verdict" {
                fieldset class="opinions" {
                    legend { "What do you see?" }
                    @for opinion in Opinion::ALL {
                        (choice("opinion", opinion.as_str(), opinion_words(*opinion),
                            opinion_key(*opinion)))
                    }
                }
                fieldset class="confidences" {
                    legend { "How sure are you?" }
                    @for confidence in Confidence::ALL {
                        (choice("confidence", confidence.as_str(), confidence_words(*confidence),
                            confidence_key(*confidence)))
                    }
                }
                button type="submit" class="main" { "Sign my verdict" }
                p class="quiet-text" {
                    "It cannot be changed. Nobody reads it before a second person has judged."
                }
                details class="help" {
                    summary { "Keys" }
                    ul {
                        @for opinion in Opinion::ALL {
                            li { kbd { (opinion_key(*opinion)) } " " (opinion_words(*opinion)) }
                        }
                        @for confidence in Confidence::ALL {
                            li {
                                kbd { (confidence_key(*confidence)) } " "
                                (confidence_words(*confidence))
                            }
                        }
                        li { kbd { "Enter" } " signs. The settings above switch letters off." }
                    }
                }
            }
        } @else {
            p class="problem" {
                "You cannot judge it: the desk has no key of the device " (view.device)
                " to which a verdict could be sealed. Whoever runs the desk adds it."
            }
        }
    }
}

fn choice(name: &str, value: &str, words: &str, key: &str) -> Markup {
    html! {
        label class="choice" {
            input type="radio" name=(name) value=(value) data-words=(words)
                data-key=(key.to_lowercase());
            span { (words) }
            kbd aria-hidden="true" { (key) }
        }
    }
}

/// An opinion, as people read it.
pub fn opinion_words(opinion: Opinion) -> &'static str {
    match opinion {
        Opinion::Same => "Same person",
        Opinion::NotSame => "Not the same",
        Opinion::CannotJudge => "Cannot judge",
        Opinion::NobodyThere => "Nobody there",
    }
}

/// A degree of confidence, as people read it.
pub fn confidence_words(confidence: Confidence) -> &'static str {
    match confidence {
        Confidence::Low => "Hardly sure",
        Confidence::Medium => "Fairly sure",
        Confidence::High => "Without a doubt",
    }
}

fn opinion_key(opinion: Opinion) -> &'static str {
    match opinion {
        Opinion::Same => "S",
        Opinion::NotSame => "N",
        Opinion::CannotJudge => "C",
        Opinion::NobodyThere => "B",
    }
}

fn confidence_key(confidence: Confidence) -> &'static str {
    match confidence {
        Confidence::Low => "1",
        Confidence::Medium => "2",
        Confidence::High => "3",
    }
}
