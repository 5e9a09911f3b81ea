// Where a picture lies in its pane: zoom about a point, pan, pixel under the cursor.
// A view is {zoom, x, y}: x, y in 0..1 is the point of the picture at the middle of the pane.
const view = (() => {
  const whole = () => ({ zoom: 1, x: 0.5, y: 0.5 });

  // Keeps the picture over the whole pane: no empty margin at any zoom.
  function clamp(v) {
    const zoom = Math.min(64, Math.max(1, v.zoom)), half = 0.5 / zoom;
    const inside = p => Math.min(1 - half, Math.max(half, p));
    return { zoom, x: inside(v.x), y: inside(v.y) };
  }

  // The point of the picture (0..1) at the point (0..1) of the pane.
  const at = (v, px, py) => [v.x + (px - 0.5) / v.zoom, v.y + (py - 0.5) / v.zoom];

  // Zooms by a factor, and what is under the point of the pane stays there.
  function zoomAt(v, factor, px, py) {
    const [x, y] = at(v, px, py), zoom = Math.min(64, Math.max(1, v.zoom * factor));
    return clamp({ zoom, x: x - (px - 0.5) / zoom, y: y - (py - 0.5) / zoom });
  }

  // Moves the picture by a part of the pane.
  const pan = (v, dx, dy) => clamp({ zoom: v.zoom, x: v.x - dx / v.zoom, y: v.y - dy / v.zoom });

  // Part of the picture in the pane: x, y, width, height in 0..1.
  const part = v => [v.x - 0.5 / v.zoom, v.y - 0.5 / v.zoom, 1 / v.zoom, 1 / v.zoom];

  // The greatest of 1, 2, 5, 10 ... that is not above x: a scale bar's length.
  function roundLength(x) {
    const power = 10 ** Math.floor(Math.log10(x));
    return [5, 2, 1].map(m => m * power).find(m => m <= x * (1 + 1e-9));
  }

  return { whole, clamp, at, zoomAt, pan, part, roundLength };
})();
if (typeof module !== "undefined") module.exports.view = view;
