// What a screen reader says without being asked: new messages, and the result of actions.
class Announcements {
  text = $state("");
}

export const announcements = new Announcements();

let again = false;

// announce says a text. The same text twice in a row has to differ to be said again.
export function announce(text: string): void {
  again = announcements.text === text && !again;
  announcements.text = again ? `${text}\u00a0` : text;
}
