// The switch "Show all answers" at the top of a chapter, remembered for all chapters. Without this
// script each answer opens by itself all the same: it is a <details>.
document.addEventListener("DOMContentLoaded", () => {
  const answers = [...document.querySelectorAll("details.answer")];
  if (!answers.length) return;
  const set = (some, open) => some.forEach((answer) => (answer.open = open));

  document.querySelector("article h1").insertAdjacentHTML("afterend",
    `<label class="all-answers"><input type="checkbox"> Show all answers</label>`);
  const all = document.querySelector(".all-answers input");
  all.checked = localStorage.getItem("answers") === "shown";
  if (all.checked) set(answers, true); // and leave open what the address led to
  all.addEventListener("change", () => {
    localStorage.setItem("answers", all.checked ? "shown" : "asked for");
    set(answers, all.checked);
  });

  // on paper nothing can be opened; newer browsers do not need this, see book.css
  let closed = [];
  addEventListener("beforeprint", () => set((closed = answers.filter((a) => !a.open)), true));
  addEventListener("afterprint", () => set(closed, false));
});
