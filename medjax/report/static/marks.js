// What is drawn over the pictures: scale bar, anatomical letters, colour scale, cursor.
const SHADOW = "rgba(0,0,0,.75)";

function label(context, text, x, y, align) {
  if (!text) return;
  const wide = context.measureText(text).width + 8;
  context.fillStyle = "rgba(0,0,0,.6)";
  context.fillRect(align === "left" ? x - 4 : x - wide / 2, y - 11.5, wide, 15);
  context.textAlign = align;
  context.fillStyle = "#fff";
  context.fillText(text, x, y);
}

function drawMarks(context, viewer, width, height, layer) {
  const { mm, pixel, columns, edges } = viewer.shape;
  context.font = "600 11px system-ui, sans-serif";
  context.lineJoin = "round";
  if (layer === "image" && mm) {
    const perMm = width * viewer.view.zoom / (columns * pixel[1]);
    const length = view.roundLength(width / 3 / perMm), end = 10 + length * perMm;
    context.beginPath();
    context.moveTo(10, height - 16); context.lineTo(10, height - 10);
    context.lineTo(end, height - 10); context.lineTo(end, height - 16);
    context.lineWidth = 4; context.strokeStyle = SHADOW; context.stroke();
    context.lineWidth = 1.5; context.strokeStyle = "#fff"; context.stroke();
    label(context, length < 1 ? `${length.toPrecision(1)} mm` : `${length} mm`, end + 6, height - 8, "left");
  }
  if (layer === "image") {
    label(context, edges[0], 7, height / 2, "left");
    label(context, edges[1], width / 2, 15, "center");
  } else {
    colourBar(context, viewer, width, height, layer);
  }
  if (viewer.cursor) {
    const [x, y] = [viewer.cursor[0] * width, viewer.cursor[1] * height];
    context.beginPath();
    for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
      context.moveTo(x + 4 * dx, y + 4 * dy);
      context.lineTo(x + 12 * dx, y + 12 * dy);
    }
    context.lineWidth = 3; context.strokeStyle = SHADOW; context.stroke();
    context.lineWidth = 1; context.strokeStyle = "#fff"; context.stroke();
  }
}

function colourBar(context, viewer, width, height, layer) {
  const signed = layer === "difference", stops = signed ? pixels.DIVERGING : pixels.SEQUENTIAL;
  const top = signed ? viewer.scale : 2 * viewer.threshold, first = stops[0][0];
  const wide = Math.min(120, width / 2), left = 10, y = height - 14;
  const gradient = context.createLinearGradient(left, 0, left + wide, 0);
  for (const [s, ...rgb] of stops) gradient.addColorStop((s - first) / (1 - first), `rgb(${rgb})`);
  context.fillStyle = gradient;
  context.fillRect(left, y, wide, 6);
  context.lineWidth = 1;
  context.strokeStyle = "rgba(255,255,255,.6)";
  context.strokeRect(left - 0.5, y - 0.5, wide + 1, 7);
  label(context, `${signed ? "±" : "0 to "}${Number(top.toPrecision(3))} ${viewer.about.unit}`, left + wide + 6, height - 7, "left");
}
