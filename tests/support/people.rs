//! Photographs of people in the layout of LFW, made of the bundled portraits.

use std::path::Path;

use super::desk::PORTRAITS;

/// Who is made: the folder's name and the portraits that it is made of.
pub const PEOPLE: [(&str, &[&str]); 4] = [
    ("Biden", &["biden-2010"]),
    ("Collins", &["collins"]),
    ("Grace_M_Hopper", &["hopper"]),
    ("Obama", &["obama-2010", "obama-2012"]),
];

/// Three photographs of each portrait, cut to three sizes; the second of each three is a PNG, the
/// third a `.jpeg`.
pub fn people(root: &Path) {
    for (name, portraits) in PEOPLE {
        std::fs::create_dir_all(root.join(name)).expect("a folder");
        let mut number = 0;
        for portrait in portraits {
            let whole =
                image::open(format!("{PORTRAITS}/{portrait}.jpg")).expect("a portrait").to_rgb8();
            for (margin, extension) in [(0, "jpg"), (8, "png"), (16, "jpeg")] {
                number += 1;
                let (width, height) = (whole.width() - 2 * margin, whole.height() - 2 * margin);
                let view =
                    image::imageops::crop_imm(&whole, margin, margin, width, height).to_image();
                view.save(root.join(format!("{name}/{name}_{number:04}.{extension}")))
                    .expect("writes");
            }
        }
    }
}
