// SPDX-FileCopyrightText: The mnttrace authors
// SPDX-License-Identifier: Apache-2.0

// Pictures. The policy of the page allows no code from text, and no style that is not the page's.
(() => {
  const specs = JSON.parse(document.getElementById("specs").textContent);
  for (const figure of document.querySelectorAll("[data-spec]")) {
    vegaEmbed(figure, specs[figure.dataset.spec], {
      actions: false,
      ast: true,
      defaultStyle: false,
      tooltip: { disableDefaultStyle: true },
      renderer: "canvas",
    });
  }
})();
