// One's own activity: takes the token that the application hands over, and shows times and colours as a person wants them.
"use strict";

// The application leads here with its token behind the #, which no browser sends anywhere. It goes out of the address, and out of
// the history, before anything else happens, and into the form that signs in.
function takeToken() {
  const handed = new URLSearchParams(location.hash.slice(1)).get("access_token");
  if (!handed) return;
  history.replaceState(null, "", location.pathname + location.search);
  const form = document.createElement("form");
  form.method = "post";
  form.action = "/me/sign-in";
  const token = document.createElement("input");
  token.type = "hidden";
  token.name = "token";
  token.value = handed;
  form.append(token);
  document.body.append(form);
  form.submit();
}
addEventListener("hashchange", takeToken);
takeToken();

const root = document.documentElement;
const [zone, theme] = [document.getElementById("zone"), document.getElementById("theme")];
const isLocal = () => root.dataset.zone === "local";
const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches);

function remember(name, value) {
  document.cookie = `${name}=${value}; path=/; max-age=31536000; samesite=lax`;
}

function show() {
  const two = (number) => String(number).padStart(2, "0");
  for (const time of document.querySelectorAll("time[datetime]")) {
    const at = new Date(time.dateTime);
    if (Number.isNaN(at.getTime())) continue;
    time.dataset.utc ??= time.textContent;
    const here = `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())} ${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
    time.textContent = isLocal() ? here : time.dataset.utc;
    time.title = isLocal() ? `${time.dataset.utc} UTC` : `${at.toLocaleString()} here`;
  }
  zone.textContent = isLocal() ? "Local time" : "UTC";
  zone.setAttribute("aria-label", `Times in ${isLocal() ? "local time" : "UTC"}; change`);
  theme.textContent = isDark() ? "Dark" : "Light";
  theme.setAttribute("aria-label", `${isDark() ? "Dark" : "Light"} colours; change`);
}

zone.addEventListener("click", () => {
  root.dataset.zone = isLocal() ? "utc" : "local";
  remember("zone", root.dataset.zone);
  show();
});
theme.addEventListener("click", () => {
  root.dataset.theme = isDark() ? "light" : "dark";
  remember("theme", root.dataset.theme);
  show();
});
zone.hidden = theme.hidden = false;
show();
