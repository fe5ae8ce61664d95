//! Faces in photographs, for enrolment, the one-shot commands and evaluations: the daemon's chain
//! without tracking.
//!
//! ```text
//! Frame -> detect -> FaceJudge: second look -> align -> quality -> embed
//! ```
//!
//! * Faces are judged as the daemon judges them, so that what is measured is what is used.
//! * Nothing of a face stays after its embedding was made.

#[cfg(feature = "evaluate")]
use super::Fitness;
use super::judge::FaceJudge;
pub use super::judge::JudgedFace;
use super::{Detection, Faces, Models, Quality, TooPoor, VisionConfig, VisionError};
use crate::frame::Frame;
use crate::geometry::Point;
use crate::template::Embedding;

/// A face lower than this share of the person's is background, where it is not nearer to the
/// photograph's centre either: whose photograph it is cannot be mistaken then.
const BACKGROUND: f32 = 1.0 / 3.0;

/// Why a photograph cannot stand for a person.
#[derive(Debug, thiserror::Error)]
pub enum NotEnrollable {
    /// Nobody in it.
    #[error(
        "no face was found; use a photograph in which the face is at least 40 px wide, \
         unobstructed and lit"
    )]
    NoFace,
    /// Somebody else in it, too large or too central to be background.
    #[error(
        "{found} faces were found, and the second is {share:.0} % as high as the person's, at \
         most {:.0} % may be in the background; crop the photograph to the one person",
        100.0 * BACKGROUND
    )]
    SeveralFaces {
        /// Faces in the photograph.
        found: usize,
        /// Height of the largest other face that is no background, per cent of the person's.
        share: f32,
    },
    /// Not good enough.
    #[error("the face is not good enough to be compared ({}): {value}; use a better photograph", .reason.name())]
    TooPoor {
        /// Which measure.
        reason: TooPoor,
        /// The measured value and the limit.
        value: String,
    },
    /// The networks failed.
    #[error(transparent)]
    Vision(#[from] VisionError),
}

/// A face that may be compared.
#[derive(Debug)]
pub struct Enrolled {
    /// Of the face.
    pub embedding: Embedding,
    /// What was measured of it.
    pub quality: Quality,
    /// Small faces in the background, which were not compared with anything.
    pub background: usize,
}

impl Enrolled {
    /// The overall quality in the steps that lists keep: thousandths.
    pub fn stored_quality(&self) -> f32 {
        (self.quality.overall * 1000.0).round() / 1000.0
    }
}

/// Reads faces from one photograph after another.
pub struct FaceReader {
    judge: FaceJudge,
    min_score: f32,
    faces: Faces,
}

impl FaceReader {
    /// With the daemon's default settings.
    ///
    /// # Errors
    /// Where a network does not load or is not what the manifest says.
    pub fn new(models: &Models) -> Result<Self, VisionError> {
        Self::with(models, &VisionConfig::default())
    }

    /// With `long_side`, `min_score` and `quality` of `config`; the rest concerns tracks.
    ///
    /// # Errors
    /// As [`FaceReader::new`].
    pub fn with(models: &Models, config: &VisionConfig) -> Result<Self, VisionError> {
        let judge = FaceJudge::new(models, config)?;
        Ok(Self { judge, min_score: config.min_score, faces: Faces::new() })
    }

    /// All faces, best detector score first, and how many more than fit were left out.
    ///
    /// # Errors
    /// Where a network fails.
    pub fn faces(&mut self, frame: &Frame<'_>) -> Result<(Vec<JudgedFace>, usize), VisionError> {
        let report = self.judge.detector().detect(frame, self.min_score, &mut self.faces)?;
        let faces = std::mem::take(&mut self.faces);
        let seen = faces.iter().map(|face| self.judge(frame, face)).collect::<Result<_, _>>()?;
        Ok((seen, report.beyond_capacity))
    }

    /// The face that a photograph of one person is taken to show: of several the one that is
    /// [`chosen`]. `None` without any.
    ///
    /// # Errors
    /// Where a network fails.
    pub fn subject(&mut self, frame: &Frame<'_>) -> Result<Option<JudgedFace>, VisionError> {
        self.judge.detector().detect(frame, self.min_score, &mut self.faces)?;
        let centre = Point::new(frame.width() as f32 / 2.0, frame.height() as f32 / 2.0);
        let Some(face) = chosen(&self.faces, centre).copied() else { return Ok(None) };
        self.judge(frame, &face).map(Some)
    }

    fn judge(&mut self, frame: &Frame<'_>, face: &Detection) -> Result<JudgedFace, VisionError> {
        let judged = self.judge.judge(frame, face);
        self.judge.wipe();
        judged
    }

    /// The embedding of a face that [`FaceReader::faces`] or [`FaceReader::subject`] found in the
    /// same photograph.
    ///
    /// # Errors
    /// Where the network fails; [`VisionError::Embedding`] where its output is none, as for a face
    /// whose landmarks coincide.
    pub fn embed(
        &mut self,
        frame: &Frame<'_>,
        seen: &JudgedFace,
    ) -> Result<Embedding, VisionError> {
        let embedding = self.judge.embed_again(frame, seen);
        self.judge.wipe();
        embedding
    }

    /// As [`FaceReader::embed`], with what says whether the view is able to match.
    ///
    /// # Errors
    /// As there.
    #[cfg(feature = "evaluate")]
    pub fn embed_with_fitness(
        &mut self,
        frame: &Frame<'_>,
        seen: &JudgedFace,
    ) -> Result<(Embedding, Option<Fitness>), VisionError> {
        let embedding = self.judge.embed_again(frame, seen);
        let fitness = Fitness::of(self.judge.aligned());
        self.judge.wipe();
        Ok((embedding?, fitness))
    }

    /// The one person of a photograph, good enough to enrol; small faces in the background are left
    /// alone and counted.
    ///
    /// # Errors
    /// [`NotEnrollable`].
    pub fn single(&mut self, frame: &Frame<'_>) -> Result<Enrolled, NotEnrollable> {
        self.judge
            .detector()
            .detect(frame, self.min_score, &mut self.faces)
            .map_err(NotEnrollable::Vision)?;
        let centre = Point::new(frame.width() as f32 / 2.0, frame.height() as f32 / 2.0);
        let face = *alone(&self.faces, centre)?;
        let background = self.faces.len() - 1;
        let seen = self.judge(frame, &face)?;
        if let Err(reason) = seen.verdict {
            return Err(NotEnrollable::TooPoor {
                reason,
                value: self.measured(reason, &seen.quality),
            });
        }
        Ok(Enrolled { embedding: self.embed(frame, &seen)?, quality: seen.quality, background })
    }

    fn measured(&self, reason: TooPoor, q: &Quality) -> String {
        let g = self.judge.gate();
        match reason {
            TooPoor::Landmarks => "its landmarks coincide".into(),
            TooPoor::TooSmall => {
                format!(
                    "{:.0} px between the eyes, at least {:.0} are needed",
                    q.eye_distance_px, g.min_eye_distance_px
                )
            }
            TooPoor::LowScore => {
                format!(
                    "detector score {:.2}, at least {:.2} is needed",
                    q.detector_score, g.min_score
                )
            }
            TooPoor::Pose => format!(
                "turned by {:.0}° to the side and {:.0}° up or down, at most {:.0}° and {:.0}° \
                 are allowed",
                q.yaw.abs(),
                q.pitch.abs(),
                g.max_yaw,
                g.max_pitch
            ),
            TooPoor::CutOff => {
                format!(
                    "{:.0} % lie outside the picture, at most {:.0} %",
                    q.outside * 100.0,
                    g.max_outside * 100.0
                )
            }
            TooPoor::Lying => "it is surer when turned".into(),
            TooPoor::Blurred => {
                format!("sharpness {:.2}, at least {:.2} is needed", q.sharpness, g.min_sharpness)
            }
        }
    }
}

/// The face that a photograph of one person is taken to show: the one with the greatest `area - 2 x
/// distance²`, distance being that of its centre from `centre`, the photograph's, in pixels: large
/// and near the centre. `None` without any.
pub fn chosen(faces: &[Detection], centre: Point) -> Option<&Detection> {
    let weight = |d: &Detection| {
        let distance = d.rect.center().distance(centre);
        d.rect.area() - 2.0 * distance * distance
    };
    faces.iter().max_by(|a, b| weight(a).total_cmp(&weight(b)))
}

/// The face that is [`chosen`], where all others are background.
fn alone(faces: &[Detection], centre: Point) -> Result<&Detection, NotEnrollable> {
    let subject = chosen(faces, centre).ok_or(NotEnrollable::NoFace)?;
    let distance = |d: &Detection| d.rect.center().distance(centre);
    let is_background = |d: &&Detection| {
        d.rect.height < BACKGROUND * subject.rect.height && distance(d) > distance(subject)
    };
    let others = faces.iter().filter(|d| !std::ptr::eq(*d, subject)).filter(|d| !is_background(d));
    match others.map(|d| d.rect.height).max_by(f32::total_cmp) {
        None => Ok(subject),
        Some(height) => Err(NotEnrollable::SeveralFaces {
            found: faces.len(),
            share: 100.0 * height / subject.rect.height,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Layout, PixelFormat, Range};
    use crate::geometry::{Rect, Similarity};
    use crate::vision::align::AlignedFace;

    /// A square picture of the middle of `picture`, turned clockwise by so many degrees.
    fn turned(picture: &image::RgbImage, degrees: f32) -> (Layout, Vec<u8>) {
        let (w, h) = picture.dimensions();
        let side = w.max(h);
        let of = |w, h| Layout::packed(PixelFormat::Rgb8, Range::Full, w, h).unwrap();
        let frame = Frame::new(of(w, h), picture.as_raw()).unwrap();
        let (b, a) = (-degrees).to_radians().sin_cos();
        let (x, y, middle) = (w as f32 / 2.0, h as f32 / 2.0, side as f32 / 2.0);
        let mut out = AlignedFace::new(side as usize);
        out.sample(
            &frame,
            &Similarity { a, b, tx: x - (a - b) * middle, ty: y - (a + b) * middle },
        );
        (of(side, side), out.rgb().to_vec())
    }

    /// What enrolment makes of each bundled portrait at every angle.
    #[test]
    fn a_face_at_any_angle_is_refused_or_enrolled_as_who_it_is() {
        let models = Models::builtin().unwrap();
        let mut reader = FaceReader::new(&models).unwrap();
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/demo/portraits/");
        let (mut refused, mut table) = ([0; 24], String::new());
        let mut others = Vec::new();
        for name in ["biden-2010", "collins", "hopper", "obama-2010", "obama-2012"] {
            let picture = image::open(format!("{folder}{name}.jpg")).unwrap().into_rgb8();
            let mut upright: Option<Embedding> = None;
            table += &format!("\n{name:11}");
            for (step, count) in refused.iter_mut().enumerate() {
                let (layout, data) = turned(&picture, 15.0 * step as f32);
                match reader.single(&Frame::new(layout, &data).unwrap()) {
                    Ok(enrolled) => {
                        let upright = upright.get_or_insert_with(|| enrolled.embedding.clone());
                        let alike = upright.cosine(&enrolled.embedding);
                        table += &format!(" {:4.0}", 100.0 * alike);
                        if alike < 0.6 {
                            others.push((name, 15 * step, alike));
                        }
                    }
                    Err(error) => {
                        *count += 1;
                        table += match error {
                            NotEnrollable::NoFace => "   no",
                            NotEnrollable::TooPoor { reason: TooPoor::Lying, .. } => "  lie",
                            NotEnrollable::TooPoor { .. } => " poor",
                            _ => "  err",
                        };
                    }
                }
            }
        }
        assert_eq!(others, [], "enrolled as somebody else{table}");
        assert_eq!(refused[0], 0, "upright{table}");
        assert_eq!(refused[5..20], [5; 15], "from 75 to 285 degrees{table}");
    }

    #[test]
    fn a_small_face_off_the_centre_is_background_and_any_other_second_face_is_somebody_else() {
        let face = |x: f32, y: f32, side: f32| Detection {
            rect: Rect::new(x - side / 2.0, y - side / 2.0, side, side),
            landmarks: [Point::new(0.0, 0.0); 5],
            score: 0.9,
        };
        let centre = Point::new(100.0, 100.0);
        let person = face(105.0, 100.0, 60.0);
        let judge = |others: &[Detection]| {
            let all = [&[person][..], others].concat();
            alone(&all, centre).copied().map_err(|e| e.to_string())
        };
        assert_eq!(judge(&[]), Ok(person));
        assert_eq!(judge(&[face(20.0, 20.0, 19.0), face(180.0, 20.0, 10.0)]), Ok(person));
        for other in
            [face(20.0, 20.0, 21.0), face(101.0, 100.0, 19.0), face(180.0, 100.0, f32::NAN)]
        {
            let refusal = judge(&[other, face(20.0, 180.0, 5.0)]).unwrap_err();
            assert!(refusal.starts_with("3 faces were found"), "{refusal}");
        }
        assert!(judge(&[face(20.0, 20.0, 30.0)]).unwrap_err().contains("50 % as high"));
        assert!(matches!(alone(&[], centre), Err(NotEnrollable::NoFace)));
    }

    #[test]
    fn the_face_that_counts_is_large_and_near_the_centre() {
        let face = |x, y, side| Detection {
            rect: Rect::new(x, y, side, side),
            landmarks: [Point::new(0.0, 0.0); 5],
            score: 0.9,
        };
        let centre = Point::new(100.0, 100.0);
        let faces = [face(0.0, 0.0, 70.0), face(75.0, 75.0, 50.0), face(160.0, 160.0, 60.0)];
        assert_eq!(chosen(&faces, centre), Some(&faces[1]));
        assert_eq!(chosen(&[], centre), None);
    }
}
