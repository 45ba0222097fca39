
// Pictures, in the colors of the page; drawn again when these change.
(() => {
  const specs = JSON.parse(document.getElementById("specs").textContent);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  let views = [];

  async function draw(isDark) {
    views.splice(0).forEach((view) => view.finalize());
    for (const figure of document.querySelectorAll("[data-spec]")) {
      const spec = structuredClone(specs[figure.dataset.spec]);
      spec.config = { ...spec.config, background: "transparent" };
      const view = await vegaEmbed(figure.querySelector("div"), spec, {
        actions: false,
        // The policy of the page allows no code from text, and no style that is not the page's.
        ast: true,
        defaultStyle: false,
        tooltip: { disableDefaultStyle: true, theme: "page" },
        theme: isDark ? "dark" : undefined,
        renderer: "canvas",
      });
      views.push(view);
    }
  }

  if (Object.keys(specs).length) {
    draw(dark.matches);
    dark.addEventListener("change", () => draw(dark.matches));
  }
})();
