for (const gallery of document.querySelectorAll("section.gallery")) {
  const controls = gallery.querySelector(".controls");
  const holder = gallery.querySelector(".cards");
  const cards = [...holder.children];
  const buttons = [...controls.querySelectorAll("button")];
  const selects = [...controls.querySelectorAll("select[data-group]")];
  const order = controls.querySelector("[data-order]");
  const output = controls.querySelector("output");
  let verdict = "";

  const show = () => {
    let shown = 0;
    for (const card of cards) {
      const groups = JSON.parse(card.dataset.groups);
      const fits = (!verdict || card.dataset.verdict === verdict) &&
        selects.every((s) => !s.value || groups[s.dataset.group] === s.value);
      card.hidden = !fits;
      shown += fits;
    }
    output.textContent = `${shown} shown`;
  };
  const sort = () => {
    const sign = { sure: -1, unsure: 1 }[order.value];
    const sorted = sign
      ? [...cards].sort((a, b) => sign * (Number(a.dataset.confidence) - Number(b.dataset.confidence)))
      : cards;
    holder.append(...sorted);
  };
  for (const button of buttons) {
    button.addEventListener("click", () => {
      verdict = button.dataset.verdict;
      for (const each of buttons) each.setAttribute("aria-pressed", String(each === button));
      show();
    });
  }
  for (const select of selects) select.addEventListener("change", show);
  order.addEventListener("change", sort);
  controls.hidden = false;
  show();
}
