const fold = (text) =>
  text.normalize("NFD").replace(/\p{M}/gu, "").replace(/đ/g, "d");
const clean = (text) => text.normalize("NFC").toLowerCase().replace(/\s+/g, " ").trim();

// A picture that several samples share is in the page once.
for (const image of document.querySelectorAll("img[data-same]")) {
  image.src = document.getElementById(image.dataset.same).src;
}

class Gallery {
  constructor(section) {
    this.section = section;
    this.controls = section.querySelector(".controls");
    this.holder = section.querySelector(".cards");
    this.listed = [...this.holder.children];
    this.cards = [...this.listed];
    this.buttons = [...this.controls.querySelectorAll("button[data-verdict]")];
    this.selects = [...this.controls.querySelectorAll("select[data-group]")];
    this.order = this.controls.querySelector("[data-order]");
    this.search = this.controls.querySelector("[data-search]");
    this.clear = this.controls.querySelector("[data-clear]");
    this.verdict = "";
    for (const card of this.listed) {
      card.groups = JSON.parse(card.dataset.groups);
      const texts = [...card.querySelectorAll(".question, dd")].map((e) => `${e.textContent} ${e.title}`);
      card.words = clean(texts.join(" "));
      card.folded = fold(card.words);
      card.querySelector(".enlarge").addEventListener("click", () => viewer.open(this, card));
      card.querySelector(".picture")?.addEventListener("click", () => viewer.open(this, card));
    }
    this.listen();
    this.restore();
    this.controls.hidden = false;
    this.sort();
    this.show();
  }

  listen() {
    for (const button of this.buttons) {
      button.addEventListener("click", () => this.change(() => (this.verdict = button.dataset.verdict)));
    }
    for (const select of this.selects) select.addEventListener("change", () => this.change());
    this.order.addEventListener("change", () => this.change(() => this.sort()));
    this.search.addEventListener("input", () => this.change());
    this.search.addEventListener("keydown", (event) => {
      if (event.key === "Escape") this.change(() => (this.search.value = ""));
    });
    this.clear.addEventListener("click", () => {
      this.change(() => {
        this.verdict = this.search.value = "";
        for (const select of this.selects) select.value = "";
      });
      this.buttons[0].focus();
    });
  }

  change(action) {
    action?.();
    this.show();
    history.replaceState(null, "", this.link());
  }

  get shown() {
    return this.cards.filter((card) => !card.hidden);
  }

  show() {
    const words = clean(this.search.value);
    // Letters typed without marks find those with marks, too.
    const plain = fold(words) === words;
    let shown = 0;
    for (const card of this.listed) {
      const fits = (!this.verdict || card.dataset.verdict === this.verdict) &&
        this.selects.every((s) => !s.value || card.groups[s.dataset.group] === s.value) &&
        (!words || (plain ? card.folded : card.words).includes(words));
      card.hidden = !fits;
      shown += fits;
    }
    for (const each of this.buttons) {
      each.setAttribute("aria-pressed", String(each.dataset.verdict === this.verdict));
    }
    this.controls.querySelector("output").textContent = `${shown} of ${this.listed.length} shown`;
    this.section.querySelector(".nothing").hidden = shown > 0;
    this.clear.hidden = shown === this.listed.length;
  }

  sort() {
    const keys = {
      data: (card) => Number(card.dataset.order),
      sure: (card) => -Number(card.dataset.confidence),
      unsure: (card) => Number(card.dataset.confidence),
      overlap: (card) => (card.dataset.overlap === "" ? 2 : Number(card.dataset.overlap)),
    };
    const key = keys[this.order.value];
    this.cards = key ? [...this.listed].sort((a, b) => key(a) - key(b)) : [...this.listed];
    this.holder.append(...this.cards);
  }

  // What is shown is part of the address, so that it can be kept and passed on.
  link() {
    const state = new URLSearchParams();
    if (this.verdict) state.set("verdict", this.verdict);
    for (const select of this.selects) if (select.value) state.set(select.dataset.group, select.value);
    if (this.order.value) state.set("order", this.order.value);
    if (this.search.value) state.set("search", this.search.value);
    const text = state.toString();
    return `#${this.section.id}${text ? `?${text}` : ""}`;
  }

  restore() {
    const [id, text] = location.hash.slice(1).split("?");
    if (id !== this.section.id || !text) return;
    const state = new URLSearchParams(text);
    const choose = (select, value) => {
      if ([...select.options].some((option) => option.value === value)) select.value = value;
    };
    const verdict = state.get("verdict") ?? "";
    if (this.buttons.some((button) => button.dataset.verdict === verdict)) this.verdict = verdict;
    for (const select of this.selects) choose(select, state.get(select.dataset.group) ?? "");
    choose(this.order, state.get("order") ?? "");
    this.search.value = state.get("search") ?? "";
    requestAnimationFrame(() => this.section.scrollIntoView());
  }
}

// One sample large, with the arrow keys to the next that is shown.
const viewer = {
  dialog: document.createElement("dialog"),

  open(gallery, card) {
    this.cards = gallery.shown;
    this.at = this.cards.indexOf(card);
    this.fill();
    this.dialog.showModal();
  },

  fill() {
    const copy = this.cards[this.at].cloneNode(true);
    copy.querySelector(".enlarge").remove();
    copy.querySelector("img")?.removeAttribute("id");
    const raw = copy.querySelector("dd.said").title;
    if (raw) {
      const [name, text] = [document.createElement("dt"), document.createElement("dd")];
      [name.textContent, text.textContent] = ["as given", raw];
      copy.querySelector("dl").append(name, text);
    }
    this.dialog.querySelector(".place").replaceChildren(copy);
    this.dialog.querySelector("output").textContent = `${this.at + 1} of ${this.cards.length}`;
  },

  step(by) {
    this.at = (this.at + by + this.cards.length) % this.cards.length;
    this.fill();
  },
};
viewer.dialog.className = "viewer";
viewer.dialog.setAttribute("aria-label", "Sample");
viewer.dialog.innerHTML =
  '<div class="place"></div><div class="buttons"><button type="button" data-by="-1">← previous</button>' +
  '<output></output><button type="button" data-by="1">next →</button><button type="button" data-close>close</button></div>';
viewer.dialog.addEventListener("click", (event) => {
  const { by, close } = event.target.dataset;
  if (by) viewer.step(Number(by));
  if (close !== undefined || event.target === viewer.dialog) viewer.dialog.close();
});
viewer.dialog.addEventListener("keydown", (event) => {
  const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (by) viewer.step(by);
});

const galleries = [...document.querySelectorAll("section.gallery")].map((each) => new Gallery(each));
if (galleries.length) document.body.append(viewer.dialog);
document.addEventListener("keydown", (event) => {
  if (event.key !== "/" || /^(INPUT|SELECT|TEXTAREA)$/.test(document.activeElement.tagName)) return;
  if (!galleries.length || viewer.dialog.open) return;
  event.preventDefault();
  galleries[0].search.focus();
});
