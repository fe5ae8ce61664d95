//! The empty hall that the people of the scene walk through, drawn once: windows, wall, floor and,
//! in front, a parapet.
//!
//! Drawn instead of photographed so that nothing in it can be taken for a face, and so that it
//! costs no bytes.

/// Left edge of the first window, distance to the next, width, all in pixels.
const WINDOWS: (i32, i32, i32) = (34, 152, 112);
/// Rows of a window.
const WINDOW_ROWS: std::ops::Range<i32> = 24..226;
/// Where the wall meets the floor.
const FLOOR: i32 = 306;

/// Red, green, blue of the hall at pixel (`x`, `y`) of a 640x480 picture; rows from `parapet` on
/// belong to the parapet.
pub(super) fn colour(x: i32, y: i32, parapet: i32) -> [f32; 3] {
    if y >= parapet {
        return stone(x, y - parapet);
    }
    if y >= FLOOR {
        return floor(x, y);
    }
    wall(x, y)
}

/// `colour` times `gain`.
fn lit(colour: [f32; 3], gain: f32) -> [f32; 3] {
    colour.map(|c| (c * gain).clamp(0.0, 255.0))
}

fn wall(x: i32, y: i32) -> [f32; 3] {
    let (first, step, width) = WINDOWS;
    let column = (x - first).rem_euclid(step);
    let beside = column - width;
    if WINDOW_ROWS.contains(&y) && column < width {
        // Mullions, then sky that pales towards the sill.
        if (column - width / 2).abs() <= 2
            || (y - WINDOW_ROWS.start) % 68 <= 2
            || column < 3
            || column >= width - 3
        {
            return [92.0, 88.0, 82.0];
        }
        let down = (y - WINDOW_ROWS.start) as f32 / (WINDOW_ROWS.end - WINDOW_ROWS.start) as f32;
        return [150.0 + 34.0 * down, 172.0 + 22.0 * down, 192.0 + 8.0 * down];
    }
    if y >= FLOOR - 14 {
        return [96.0, 88.0, 78.0];
    }
    // Daylight fades from the reveal into the middle of each pier, and from the ceiling down.
    let pier = (step - width) as f32 / 2.0;
    let middle = if beside < 0 { 0.0 } else { 1.0 - ((beside as f32 - pier) / pier).abs() };
    lit([176.0, 166.0, 150.0], 1.0 - 0.12 * middle - 0.16 * y as f32 / FLOOR as f32)
}

fn floor(x: i32, y: i32) -> [f32; 3] {
    // Tiles in perspective: the horizon is the camera's height, far above the visible floor.
    let depth = 2600.0 / (y - FLOOR + 26) as f32;
    let across = (x - 320) as f32 * depth / 100.0;
    let joint = |v: f32| (v - v.floor()) < 0.045;
    let tile = [134.0, 128.0, 118.0];
    if joint(across / 0.9 + 40.0) || joint(depth / 14.0) {
        lit(tile, 0.86)
    } else {
        lit(tile, 1.1 - depth / 1000.0)
    }
}

fn stone(x: i32, down: i32) -> [f32; 3] {
    let body = [118.0, 113.0, 106.0];
    match down {
        0..=2 => lit(body, 1.5),
        3..=15 => lit(body, 1.28),
        16..=20 => lit(body, 0.62),
        _ if (x + if down > 60 { 64 } else { 0 }).rem_euclid(128) < 2
            || (60..62).contains(&down) =>
        {
            lit(body, 0.78)
        }
        _ => lit(body, 1.0 - 0.002 * down as f32),
    }
}
