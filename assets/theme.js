// Applies the stored theme before the first paint; app/src/theme.rs changes it later, under the same key.
try {
  const theme = localStorage.getItem("laurel-theme");
  if (theme === "light" || theme === "dark") document.documentElement.setAttribute("data-theme", theme);
} catch {
  // Storage is forbidden here: the system's theme stays.
}
