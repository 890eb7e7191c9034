const form = document.getElementById("form"), said = document.getElementById("said");
form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const token = new URLSearchParams(location.hash.slice(1)).get("token") ?? "";
  const password = document.getElementById("password").value;
  const answer = await fetch(location.pathname, {
    method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ token, password }),
  }).catch(() => null);
  if (answer?.ok) { form.hidden = true; history.replaceState(null, "", location.pathname); said.textContent = form.dataset.done; return; }
  const problem = answer ? await answer.json().catch(() => ({})) : {};
  said.textContent = form.dataset.failed + (problem.detail ?? "?");
});
