// Before anything is painted: the colours that were chosen the last time.
try {
  const chosen = localStorage.getItem("morag-theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
} catch {
  // Storage can be forbidden; the system's colours it is.
}
