// Shows a photograph as the device shows a face: both eyes where they are in the candidate's crop,
// so that one scale and one upright hold for both.

// Where an aligned face has its eyes, as parts of its side (src/vision/align.rs).
const EYES = [38.2946 / 112, 51.6963 / 112, 73.5318 / 112, 51.5014 / 112];

/**
 * Draws the picture file `bytes` on `canvas`.
 *
 * @param eyes  `"x,y,x,y"` of both eyes in the photograph, in px, left to right; without it the
 *   whole photograph is shown
 */
export async function showAlike(canvas, bytes, eyes) {
  const picture = await createImageBitmap(new Blob([bytes]));
  const side = 672;
  canvas.width = canvas.height = side;
  const draw = canvas.getContext("2d");
  const [x0, y0, x1, y1] = (eyes ?? "").split(",").map(Number);
  const apart = Math.hypot(x1 - x0, y1 - y0);
  if (apart > 0) {
    const [u0, v0, u1, v1] = EYES.map((part) => part * side);
    const scale = Math.hypot(u1 - u0, v1 - v0) / apart;
    draw.translate(u0, v0);
    draw.rotate(Math.atan2(v1 - v0, u1 - u0) - Math.atan2(y1 - y0, x1 - x0));
    draw.scale(scale, scale);
    draw.drawImage(picture, -x0, -y0);
  } else {
    const scale = Math.min(side / picture.width, side / picture.height);
    const [width, height] = [picture.width * scale, picture.height * scale];
    draw.drawImage(picture, (side - width) / 2, (side - height) / 2, width, height);
  }
  picture.close();
}
