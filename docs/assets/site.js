// Before and after: the handle of the comparison on the home page.
for (const figure of document.querySelectorAll(".compare")) {
  const handle = figure.querySelector("input")
  handle.addEventListener("input", () => figure.style.setProperty("--at", `${handle.value}%`))
}
