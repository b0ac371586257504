// Writes to a page that cost nothing when nothing has changed.

export function byTestId<E extends HTMLElement = HTMLElement>(id: string, root: ParentNode = document): E {
  const element = root.querySelector<E>(`[data-testid="${id}"]`);
  if (!element) throw new Error(`the page has no element "${id}"`);
  return element;
}

export function make<K extends keyof HTMLElementTagNameMap>(
  tag: K, className: string, ...children: (Node | string)[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  if (className) element.className = className;
  element.append(...children);
  return element;
}

export function setText(element: Element, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}

export function setAttribute(element: Element, name: string, value: string | undefined): void {
  if (value === undefined) element.removeAttribute(name);
  else if (element.getAttribute(name) !== value) element.setAttribute(name, value);
}

/** Through the CSS object model: a style attribute would need a weaker content security policy. */
export function setPart(element: HTMLElement, part: number, name = "--part"): void {
  const value = part.toFixed(4);
  if (element.style.getPropertyValue(name) !== value) element.style.setProperty(name, value);
}
