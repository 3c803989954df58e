// A page of one's own on the Sotto SDK: registers with a name from the address (?name=…), sends, and shows what arrives.
// It has to be served from the same origin as the server's /sdk, /core and /api.
import { Sotto } from "/sdk/sotto.js";

const { core } = await (await fetch("/sdk/core.json")).json();
const sotto = new Sotto({ core, database: "example" });
const $ = (id) => document.getElementById(id);
const name = new URL(location.href).searchParams.get("name");

sotto.onStatus(async (s) => {
  $("status").textContent = s.failure?.message ?? `${s.account?.username ?? "nobody"}, ${s.connection}`;
  if (s.role === "leader" && s.phase === "ready" && !s.account && name && !sotto.registering) {
    sotto.registering = true;
    const password = crypto.randomUUID(); // an example: this account ends with the browser's data
    await sotto.ask("register", { username: name, password, device_name: "example page" });
  }
});

sotto.onEvent(async (e) => {
  if (e.type === "message" && !e.message.own) {
    const item = document.createElement("li");
    item.textContent = e.message.text ?? "something that this page does not show";
    $("messages").append(item);
    await sotto.ask("accept", { conversation: e.message.conversation });
  }
});

$("say").addEventListener("submit", async (event) => {
  event.preventDefault();
  const { to, text } = event.target;
  try {
    const { id } = await sotto.ask("conversation", { username: to.value });
    const { message_id } = await sotto.ask("send", { conversation: id, text: text.value });
    await sotto.ask("waitSent", { message_id });
    text.value = "";
  } catch (e) {
    $("status").textContent = e.message;
  }
});
