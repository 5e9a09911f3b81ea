"use strict";
// Codes of pack.py to colours. No document here: node can run it.
const pixels = (() => {
  // The inverse of pack.py: two halves of bytes, folded differences from row to row.
  function unfold(halves, rows, columns) {
    const n = halves.length / 2, codes = new Uint16Array(n), picture = rows * columns;
    for (let i = 0; i < n; i++) {
      const folded = halves[i] | (halves[n + i] << 8);
      const delta = (folded >> 1) ^ -(folded & 1);
      codes[i] = i % picture < columns ? delta : codes[i - columns] + delta;
    }
    return codes;
  }

  async function decode(text, rows, columns) {
    const bytes = Uint8Array.from(atob(text), c => c.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    return unfold(new Uint8Array(await new Response(stream).arrayBuffer()), rows, columns);
  }

  const valueOf = (coding, code) => code ? coding.low + coding.step * (code - 1) : NaN;

  // Halves to even, as NumPy's rint: script and PNG agree to the last grey.
  function rint(x) {
    const r = Math.round(x);
    return r - x === 0.5 && r % 2 ? r - 1 : r;
  }

  const grey = (value, low, high) => rint(255 * Math.min(1, Math.max(0, (value - low) / (high - low))));

  function greys(coding, low, high) {
    const table = new Uint8Array(coding.count);
    for (let c = 1; c < coding.count; c++) table[c] = grey(valueOf(coding, c), low, high);
    return table;
  }

  // Stops as in picture.py.
  const DIVERGING = [[-1, 190, 230, 255], [-0.5, 43, 127, 214], [0, 12, 12, 14], [0.5, 214, 93, 24], [1, 255, 226, 170]];
  const SEQUENTIAL = [[0, 12, 12, 14], [0.33, 91, 30, 112], [0.67, 222, 83, 73], [1, 252, 235, 160]];
  const NOT_FINITE = [255, 0, 255];

  function colour(value, stops) {
    if (Number.isNaN(value)) return NOT_FINITE;
    const last = stops.length - 1;
    if (value <= stops[0][0]) return stops[0].slice(1);
    if (value >= stops[last][0]) return stops[last].slice(1);
    const k = stops.findIndex(s => s[0] > value) - 1, [a, b] = [stops[k], stops[k + 1]];
    const t = (value - a[0]) / (b[0] - a[0]);
    return [1, 2, 3].map(c => rint(a[c] + t * (b[c] - a[c])));
  }

  // 255 colours, as in picture.py.
  function colours(stops) {
    const from = stops[0][0], table = new Uint8Array(3 * 255);
    for (let i = 0; i < 255; i++) table.set(colour(from + (1 - from) * i / 254, stops), 3 * i);
    return table;
  }
  const DIVERGING_TABLE = colours(DIVERGING), SEQUENTIAL_TABLE = colours(SEQUENTIAL);

  function put(out, i, table, entry) {
    out[4 * i] = table[3 * entry];
    out[4 * i + 1] = table[3 * entry + 1];
    out[4 * i + 2] = table[3 * entry + 2];
    out[4 * i + 3] = 255;
  }

  function putNotFinite(out, i) {
    for (let c = 0; c < 3; c++) out[4 * i + c] = NOT_FINITE[c];
    out[4 * i + 3] = 255;
  }

  // out: RGBA bytes of one slice of n pixels; codes: planar, `channels` slices of n from `at`.
  function drawImage(out, codes, at, n, channels, table) {
    for (let i = 0; i < n; i++) {
      let whole = true;
      for (let c = 0; c < 3; c++) {
        const code = codes[at + i + (channels > 1 ? c * n : 0)];
        whole = whole && code > 0;
        out[4 * i + c] = table[code];
      }
      out[4 * i + 3] = 255;
      if (!whole) putNotFinite(out, i);
    }
  }

  function drawDifference(out, a, b, at, n, channels, step, scale) {
    for (let i = 0; i < n; i++) {
      let sum = 0, whole = true;
      for (let c = 0; c < channels; c++) {
        const k = at + i + c * n;
        whole = whole && a[k] > 0 && b[k] > 0;
        sum += a[k] - b[k];
      }
      if (!whole) { putNotFinite(out, i); continue; }
      const t = Math.min(1, Math.max(-1, step * sum / channels / scale));
      put(out, i, DIVERGING_TABLE, rint(127 * t) + 127);
    }
  }

  function drawUncertainty(out, sigma, at, n, coding, top) {
    for (let i = 0; i < n; i++) {
      const value = valueOf(coding, sigma[at + i]);
      if (Number.isNaN(value)) putNotFinite(out, i);
      else put(out, i, SEQUENTIAL_TABLE, rint(254 * Math.min(1, Math.max(0, value / top))));
    }
  }

  // Yellow over what the network is unsure of; code 0 (not finite) is unsure.
  function markUnsure(out, sigma, at, n, coding, threshold) {
    for (let i = 0; i < n; i++) {
      if (valueOf(coding, sigma[at + i]) <= threshold) continue;
      out[4 * i] = 0.55 * out[4 * i] + 0.45 * 255;
      out[4 * i + 1] = 0.55 * out[4 * i + 1] + 0.45 * 214;
      out[4 * i + 2] = 0.55 * out[4 * i + 2];
    }
  }

  return { unfold, decode, valueOf, grey, greys, colour, drawImage, drawDifference,
           drawUncertainty, markUnsure, DIVERGING, SEQUENTIAL };
})();
if (typeof module !== "undefined") module.exports = pixels;
