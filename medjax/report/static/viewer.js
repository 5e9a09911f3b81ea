// The pictures of a case, live: window, slices, planes, zoom and pan, one place in all panes.
class CaseViewer {
  constructor(section, index) {
    this.section = section;
    this.index = index;
    this.about = JSON.parse(section.querySelector("script[type='application/json']").textContent);
    this.cards = [...section.querySelectorAll(".card")];
    this.view = view.whole();
    this.plane = 0;
    this.alone = 0;        // the card that flicker mode shows
    this.before = 0;       // the card that it showed last
    this.stacks = {};      // decoded codes, by element id
    this.cursor = null;
    this.panes = [];
    this.resetShown();
  }

  resetShown() {
    const { window: [low, high], scale, threshold } = this.about;
    Object.assign(this, { low, high, scale, threshold, slice: this.middle() });
  }

  get shape() { return this.about.planes[this.plane]; }
  middle() { return Math.floor(this.about.planes[this.plane].slices.length / 2); }

  async start() {
    this.controls = new Controls(this);
    for (const card of this.cards)
      for (const pane of card.querySelectorAll(".pane")) this.addPane(card, pane);
    await this.choosePlane(0);
    this.section.classList.add("live");
    new ResizeObserver(() => this.draw()).observe(this.section.querySelector(".cards"));
    addGestures(this);
  }

  addPane(card, element) {
    const canvas = document.createElement("canvas");
    canvas.setAttribute("aria-hidden", "true");
    element.append(canvas);
    element.tabIndex = 0;
    element.setAttribute("role", "group");
    const name = card.dataset.name, layer = element.dataset.layer;
    element.setAttribute("aria-label", `${name}, ${layer}: plus and minus zoom, arrows move`);
    this.panes.push({ element, canvas, layer, image: this.cards.indexOf(card),
                      source: document.createElement("canvas") });
  }

  async choosePlane(plane) {
    const { rows, columns } = this.about.planes[plane];
    const wanted = this.cards.flatMap((_, i) => this.about.uncertain[i]
      ? [this.key("d", plane, i), this.key("u", plane, i)] : [this.key("d", plane, i)]);
    await Promise.all(wanted.map(async id => {
      this.stacks[id] ??= await pixels.decode(document.getElementById(id).textContent, rows, columns);
    }));
    this.plane = plane;
    this.slice = this.middle();
    this.view = view.whole();
    for (const { element, source } of this.panes) {
      const [height, width] = this.shape.pixel;
      element.style.aspectRatio = columns * width / (rows * height);
      [source.width, source.height] = [columns, rows];
    }
    this.controls.update();
    this.paint();
  }

  key(kind, plane, image) { return `${kind}-${this.index}-${plane}-${image}`; }
  stack(kind, image) { return this.stacks[this.key(kind, this.plane, image)]; }

  // Codes to colours, for every pane; draw() then only moves pictures about.
  paint() {
    const { codes, sigma, channels, reference, uncertain } = this.about;
    const { rows, columns } = this.shape, n = rows * columns;
    const at = this.slice * n, from = at * channels;
    const table = pixels.greys(codes, this.low, this.high);
    for (const { layer, image, source } of this.panes) {
      const context = source.getContext("2d"), data = context.createImageData(columns, rows);
      const own = this.stack("d", image);
      if (layer === "image") {
        pixels.drawImage(data.data, own, from, n, channels, table);
        if (uncertain[image] && this.controls.marks)
          pixels.markUnsure(data.data, this.stack("u", image), at, n, sigma, this.threshold);
      } else if (layer === "difference") {
        const clean = this.stack("d", reference);
        pixels.drawDifference(data.data, own, clean, from, n, channels, codes.step, this.scale);
      } else {
        pixels.drawUncertainty(data.data, this.stack("u", image), at, n, sigma, 2 * this.threshold);
      }
      context.putImageData(data, 0, 0);
    }
    this.draw();
  }

  draw() {
    if (this.pending) return;
    this.pending = requestAnimationFrame(() => {
      this.pending = 0;
      for (const pane of this.panes) this.drawPane(pane);
      this.probe();
    });
  }

  drawPane({ element, canvas, source, layer }) {
    const width = element.clientWidth, height = element.clientHeight;
    if (!width || !height) return;
    const ratio = devicePixelRatio || 1;
    [canvas.width, canvas.height] = [Math.round(width * ratio), Math.round(height * ratio)];
    const context = canvas.getContext("2d"), { rows, columns } = this.shape;
    const [x, y, w, h] = view.part(this.view);
    // Single pixels stay visible once they are larger than two of the screen's.
    context.imageSmoothingEnabled = canvas.width < 2 * w * columns;
    context.imageSmoothingQuality = "high";
    context.drawImage(source, x * columns, y * rows, w * columns, h * rows, 0, 0, canvas.width, canvas.height);
    context.scale(ratio, ratio);
    drawMarks(context, this, width, height, layer);
  }

  probe() {
    const { codes, sigma, channels, unit, reference, uncertain } = this.about;
    const { rows, columns } = this.shape;
    const inside = this.cursor && view.at(this.view, ...this.cursor);
    const column = inside ? Math.floor(inside[0] * columns) : -1;
    const row = inside ? Math.floor(inside[1] * rows) : -1;
    const known = column >= 0 && row >= 0 && column < columns && row < rows;
    const read = (kind, image, coding, channel, of) =>
      pixels.valueOf(coding, this.stack(kind, image)[((this.slice * of + channel) * rows + row) * columns + column]);
    const digits = Math.max(0, -Math.floor(Math.log10(codes.step) + 1e-9));
    const show = x => Number.isNaN(x) ? "not finite" : x.toFixed(digits).replace("-", "−");
    const mean = image => { let s = 0; for (let c = 0; c < channels; c++) s += read("d", image, codes, c, channels); return s / channels; };
    this.cards.forEach((card, i) => {
      let text = "";
      if (known) {
        const value = mean(i), away = value - mean(reference);
        text = `${show(value)} ${unit}`;
        if (i !== reference) text += ` (${away < 0 ? "" : "+"}${show(away)})`;
        if (uncertain[i]) text += ` σ ${show(read("u", i, sigma, 0, 1))}`;
      }
      card.querySelector(".probe").textContent = text;
    });
    this.controls.place(known ? `row ${row}, column ${column}` : "");
  }

  setWindow(low, high) {
    const least = 2 * this.about.codes.step;
    [this.low, this.high] = high - low < least ? [(low + high - least) / 2, (low + high + least) / 2] : [low, high];
    this.controls.update();
    this.paint();
  }

  setSlice(slice) {
    this.slice = Math.min(this.shape.slices.length - 1, Math.max(0, slice));
    this.controls.update();
    this.paint();
  }

  setView(next) {
    this.view = next;
    this.controls.update();
    this.draw();
  }

  setAlone(image) {
    if (image < 0 || image >= this.cards.length) return;
    if (image !== this.alone) [this.before, this.alone] = [this.alone, image];
    this.cards.forEach((card, i) => card.classList.toggle("active", i === image));
    this.controls.update();
    this.draw();
  }
}

const SHADOW = "rgba(0,0,0,.75)";

function label(context, text, x, y, align) {
  context.textAlign = align;
  context.lineWidth = 3;
  context.strokeStyle = SHADOW;
  context.strokeText(text, x, y);
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
