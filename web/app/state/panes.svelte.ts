// What is open beside the place that the address names.
class Panes {
  details = $state(false);
  finding = $state(false);
  shortcuts = $state(false);
  query = $state(""); // in the search field above the list
  toEnd = $state(0); // raised to send the open conversation to its end
  jump = $state.raw<{ conversation: string; id: string } | undefined>(); // a message to show
}

export const panes = new Panes();
