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
      element.style.setProperty("--ratio", columns * width / (rows * height));
      [source.width, source.height] = [columns, rows];
    }
    this.controls.update();
    this.paint();
  }

  key(kind, plane, image) { return `${kind}-${this.index}-${plane}-${image}`; }
  stack(kind, image) { return this.stacks[this.key(kind, this.plane, image)]; }

  // Pixels have changed; draw() alone moves the same pixels about.
  paint() {
    this.table = pixels.greys(this.about.codes, this.low, this.high);
    for (const pane of this.panes) pane.stale = true;
    this.draw();
  }

  // Codes to colours, for one pane.
  paintPane(pane) {
    const { codes, sigma, channels, reference, uncertain } = this.about;
    const { rows, columns } = this.shape, { layer, image, source } = pane, n = rows * columns;
    const at = this.slice * n, from = at * channels, own = this.stack("d", image);
    const context = source.getContext("2d"), data = context.createImageData(columns, rows);
    if (layer === "image") {
      pixels.drawImage(data.data, own, from, n, channels, this.table);
      if (uncertain[image] && this.controls.marks)
        pixels.markUnsure(data.data, this.stack("u", image), at, n, sigma, this.threshold);
    } else if (layer === "difference") {
      const clean = this.stack("d", reference);
      pixels.drawDifference(data.data, own, clean, from, n, channels, codes.step, this.scale);
    } else {
      pixels.drawUncertainty(data.data, this.stack("u", image), at, n, sigma, 2 * this.threshold);
    }
    context.putImageData(data, 0, 0);
    pane.stale = false;
  }

  draw() {
    if (this.pending) return;
    this.pending = requestAnimationFrame(() => {
      this.pending = 0;
      for (const pane of this.panes) this.drawPane(pane);
      this.probe();
    });
  }

  drawPane(pane) {
    const { element, canvas, source, layer } = pane;
    const width = element.clientWidth, height = element.clientHeight;
    if (!width || !height) return;   // Hidden: it stays stale until it is seen.
    if (pane.stale) this.paintPane(pane);
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
      card.querySelector("[data-layer=image] .tag").textContent = text;
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
    this.section.classList.toggle("zoomed", next.zoom > 1);
    this.controls.update();
    this.draw();
  }

  setAlone(image) {
    if (image < 0 || image >= this.cards.length) return;
    if (image !== this.alone) [this.before, this.alone] = [this.alone, image];
    const focused = document.activeElement?.closest(".pane");
    this.cards.forEach((card, i) => card.classList.toggle("active", i === image));
    // The next key goes to what is seen now.
    if (focused && this.section.contains(focused) && this.section.classList.contains("alone"))
      this.cards[image].querySelector(".pane").focus({ preventScroll: true });
    this.controls.update();
    this.draw();
  }
}
