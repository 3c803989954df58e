// Takes pictures of every screen into test/screenshots: desktop and phone, light and dark, English and Arabic. They are
// there to be looked at.
import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { Line, Person, Server, startBrowser, Terminal } from "./harness.mjs";

const folder = join(import.meta.dirname, "../screenshots");
const only = process.argv[2]?.split(",");
rmSync(folder, { recursive: true, force: true });
mkdirSync(folder, { recursive: true });

const forms = {
  "desktop": { viewport: { width: 1280, height: 800 } },
  "desktop-dark": { viewport: { width: 1280, height: 800 }, colorScheme: "dark" },
  "phone": { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true },
  "phone-dark": { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true, colorScheme: "dark" },
  "rtl": { viewport: { width: 1280, height: 800 }, locale: "ar-EG" },
  "phone-rtl": { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true, locale: "ar-EG" },
};

const server = await Server.start(), browser = await startBrowser();
const line = await Line.to(server);
const long = "The thing about long messages is that they have to wrap well, keep a readable measure, and leave the time somewhere " +
  "sensible. This one goes on for a while, so that the last line ends somewhere in the middle and the time finds its place.";

// Everybody whom alice meets.
const people = ["bob", "clara.weber", "dmitri", "elif", "noor", "a-very-long-name-that-wont-fit.in"].map((n) => new Terminal(server, n.slice(0, 32)));
await Promise.all(people.map((p) => p.register()));

async function shoot(page, form, name) {
  await page.waitForTimeout(250); // pictures, not a test: what moves has come to rest
  await page.screenshot({ path: join(folder, `${form}-${name}.png`) });
  console.log(`${form}-${name}`);
}

// alice registers once, in English; the other forms are views of the same browser profile.
const alice = await Person.arrive(browser, line.url, { viewport: forms.desktop.viewport });
await alice.page.getByRole("link", { name: "Create account" }).waitFor();
await shoot(alice.page, "desktop", "start");
await alice.page.getByRole("link", { name: "Create account" }).click();
await alice.page.getByLabel("Password", { exact: true }).fill("correct horse mountain");
await shoot(alice.page, "desktop", "register");
await alice.page.getByLabel("Username").fill("alice");
await alice.page.getByRole("button", { name: "Create account" }).click();
await alice.page.getByRole("button", { name: "Copy" }).waitFor();
await shoot(alice.page, "desktop", "code");
await alice.keepCode();
await alice.page.getByRole("button", { name: "Write a note to yourself" }).waitFor();
await shoot(alice.page, "desktop", "empty");
await alice.page.getByRole("button", { name: "Write a note to yourself" }).click();
await alice.say("Buy bread, call grandma 🥖");
const [bob, clara, dmitri, elif, noor, longName] = people;
const picture = join(import.meta.dirname, "../../web/app/public/icon-192.png");
await bob.run("profile", "picture", picture);
await bob.run("profile", "name", "Robert Bobinsky-Underwood");
await bob.run("profile", "status", "Out until Thursday 🌴 — write to clara.weber");
await noor.run("profile", "name", "نور الهدى");
for (const [p, texts] of [
  [dmitri, ["Привет! Ты придёшь завтра?"]], [elif, ["Bu akşam müsait misin?"]],
  [longName, ["This name does not fit, and neither does this message because it keeps going and going"]],
  [noor, ["مرحبا أليس، هل وصلتك الصور؟"]], [clara, ["Hallo Alice", "Hast du die Unterlagen schon bekommen? https://example.org/unterlagen/2026?teil=2."]],
  [bob, ["Morning!"]],
]) {
  for (const text of texts) {
    await p.say("alice", text);
  }
}
for (const p of [dmitri, noor, clara, bob]) {
  await alice.page.getByRole("navigation", { name: "Conversations" }).getByRole("link", { name: p.name }).click();
  await alice.page.getByRole("button", { name: "Accept" }).click();
  await alice.page.getByRole("textbox", { name: /^Message to/ }).waitFor();
}
await alice.say("Good morning ☀️");
await alice.say("👋🎉");
await alice.say(long);
for (const text of ["Short one", long, "See https://example.org/wiki/Sotto_(music)?x=1 for what the name means", "👍"]) {
  await bob.say("alice", text);
}
await alice.reads("what the name means");
await alice.say("Thanks, I will have a look at it tonight.");
await alice.sent();
const reacted = alice.page.locator("li.message", { hasText: "what the name means" });
await reacted.hover();
await reacted.getByRole("button", { name: "What to do with this message" }).click();
await alice.page.getByRole("group", { name: "What to do with this message" }).getByRole("button", { name: "React with 👍" }).click();
await alice.open("clara.weber");
await alice.page.getByRole("textbox", { name: /^Message to/ }).fill("I will check and");
await alice.open("noor");
await noor.say("alice", "رابط الألبوم: https://example.org/album");
await noor.say("alice", "😂");
await alice.say("شكرا! سأشاهدها الليلة");
await alice.open("bob");
await alice.page.waitForTimeout(500);
await dmitri.say("alice", "Ну что?");
await dmitri.say("alice", "Жду ответа");
await alice.page.waitForTimeout(800);
await alice.page.evaluate(() => { history.pushState(null, "", "/settings/profile"); dispatchEvent(new PopStateEvent("popstate")); });
await alice.page.locator("input[type=file]").setInputFiles(picture);
await alice.page.getByRole("dialog").getByRole("button", { name: "Save" }).waitFor();
await shoot(alice.page, "desktop", "settings-picture");
await alice.page.getByRole("dialog").getByRole("button", { name: "Save" }).click();
await alice.page.getByRole("button", { name: "Remove the picture" }).waitFor();
await alice.page.getByLabel("Name").fill("Alice Liddell");
await alice.page.getByLabel("Status").fill("Down the rabbit hole. ".repeat(25));
await shoot(alice.page, "desktop", "settings-profile-long");
await alice.page.getByLabel("Status").fill("Down the rabbit hole");
await alice.page.getByRole("button", { name: "Save" }).click();
await alice.page.getByText("Saved", { exact: true }).waitFor();
await alice.page.goBack();
await alice.page.getByRole("button", { name: "Details" }).last().click();
await alice.page.getByLabel("Mute").selectOption("For 8 hours");
await alice.page.getByRole("button", { name: "Pin to the top" }).click();
await alice.page.waitForTimeout(300);
await alice.page.getByRole("button", { name: "Close" }).click();

async function screens(form) {
  const rtl = form.includes("rtl"), phone = form.includes("phone");
  const page = alice.page;
  const { viewport, colorScheme } = forms[form];
  await page.setViewportSize(viewport);
  await page.emulateMedia({ colorScheme: colorScheme ?? "light" });
  await page.evaluate((l) => localStorage.setItem("sotto.language", l), rtl ? "ar" : "en");
  const go = async (path) => {
    await page.goto(line.url + path);
    await page.locator("nav").first().waitFor({ state: "attached" });
    await page.waitForTimeout(900);
  };
  const person = async (name) => {
    await go("/");
    await page.locator("#rows a", { hasText: name }).click();
    await page.waitForTimeout(500);
  };
  await go("/");
  await shoot(page, form, "list");
  await person("bob");
  await shoot(page, form, "conversation");
  await page.locator("li.message.own").last().hover();
  await page.locator("li.message.own .more").last().click();
  await shoot(page, form, "menu");
  await page.keyboard.press("Escape");
  await page.locator(".box").evaluate((b) => { b.scrollTop = 0; b.dispatchEvent(new Event("scroll")); });
  await shoot(page, form, "scrolled");
  await page.locator("header .icon-button").last().click();
  await shoot(page, form, "details");
  await page.locator("aside li button").first().click();
  await page.locator("dialog svg[role=img]").waitFor();
  await shoot(page, form, "safety");
  await person("dmitri");
  await shoot(page, form, "unread");
  await person("noor");
  await shoot(page, form, "arabic");
  await person("elif");
  await shoot(page, form, "request");
  await go("/");
  await page.locator("#search").fill("unterlagen");
  await page.waitForTimeout(1500);
  await shoot(page, form, "search");
  await page.locator("#search").fill("");
  await go("/new");
  await shoot(page, form, "find");
  await page.locator("dialog .share button").click();
  await shoot(page, form, "share");
  await go("/settings");
  await shoot(page, form, "settings");
  for (const section of ["profile", "account", "devices", "notices", "notifications", "privacy", "appearance"]) {
    await go(`/settings/${section}`);
    await shoot(page, form, `settings-${section}`);
  }
  await go("/c/nowhere/at/all").catch(() => undefined);
  await page.goto(`${line.url}/no/such/place`);
  await page.waitForTimeout(500);
  await shoot(page, form, "404");
  if (!phone) {
    await person("bob");
    await page.keyboard.press("Escape");
    await page.locator(".box").focus();
    await page.keyboard.press("?");
    await shoot(page, form, "shortcuts");
  }
}

for (const form of Object.keys(forms)) {
  if (!only || only.includes(form)) {
    await screens(form).catch((e) => { console.error(`${form}: ${e}`); process.exitCode = 1; });
  }
}

// Offline, with a message that waits.
const page = alice.page;
await page.setViewportSize(forms.desktop.viewport);
await page.emulateMedia({ colorScheme: "light" });
await page.evaluate(() => localStorage.setItem("sotto.language", "en"));
await page.goto(line.url);
await page.locator("#rows a", { hasText: "bob" }).click();
line.cut();
await alice.say("I am on a train with no signal");
await page.getByText("No connection.").waitFor();
await shoot(page, "desktop", "offline");
await page.setViewportSize(forms.phone.viewport);
await shoot(page, "phone", "offline");
line.mend();

// The screens before somebody is signed in, and those for when nothing works.
for (const form of ["phone", "desktop-dark", "rtl"]) {
  const p = await Person.arrive(browser, line.url, forms[form]);
  for (const path of ["/", "/register", "/sign-in", "/restore"]) {
    await p.page.goto(line.url + path);
    await p.page.waitForTimeout(1500);
    await shoot(p.page, form, path === "/" ? "start" : path.slice(1));
  }
  await p.context.close();
}
const denied = await Person.arrive(browser, line.url, forms.desktop);
await denied.context.addInitScript(() => { delete Navigator.prototype.locks; });
await denied.page.goto(line.url);
await denied.page.waitForTimeout(800);
await shoot(denied.page, "desktop", "failure");
await browser.close();
await server.stop();
process.exit();
