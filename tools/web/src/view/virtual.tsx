/**
 * A list of which only what can be seen is on the page, with rows of any height. Rows are measured once they are shown; what is above is kept in its place when
 * others come or turn out to be of another height, and a list that was at its end stays there.
 */

import { Component, type ComponentChildren, type HTMLAttributes, type RefObject } from "preact";

/** What has a height once it was measured, in pixels; 0: not yet. */
export interface Measured {
  height: number;
}

interface Props<Row extends Measured> {
  /** Is given the list, to be told where to go. */
  readonly handle?: RefObject<VirtualList<Row> | null>;
  readonly rows: readonly Row[];
  readonly keyOf: (row: Row) => string | number;
  readonly indexOf: (key: string | number) => number;
  readonly estimate: number;
  readonly render: (row: Row, at: number) => ComponentChildren;
  readonly header?: ComponentChildren;
  readonly footer?: ComponentChildren;
  /** It begins where its rows do, and not at their end. */
  readonly startsAtBeginning?: boolean;
  /** Near the beginning of what there is. */
  readonly onBeginning?: () => void;
  readonly onEnd?: (isThere: boolean) => void;
  readonly attributes: HTMLAttributes<HTMLDivElement>;
}

/** Rows beyond what can be seen, in pixels, and how near to an end counts as there. */
const BEYOND = 600;
const NEAR_END = 40;
const NEAR_BEGINNING = 1_200;
/** A row that is brought into view is there after so many frames at most. */
const SHOW_FRAMES = 5;

/** The list. */
export class VirtualList<Row extends Measured> extends Component<Props<Row>> {
  private box: HTMLDivElement | null = null;
  private space: HTMLDivElement | null = null;
  private readonly top: { current: HTMLDivElement | null } = { current: null };
  private offsets = new Float64Array(1);
  private from = 0;
  private to = 0;
  private isAtEnd = !this.props.startsAtBeginning;
  /** The row at the upper edge, and how far it is above it. */
  private anchor: { readonly key: string | number; readonly above: number } | undefined;
  private width = 0;
  private readonly observer = new ResizeObserver(() => this.settle());

  private readonly takeBox = (box: HTMLDivElement | null): void => void (this.box = box);
  private readonly takeSpace = (space: HTMLDivElement | null): void => {
    this.space = space;
    // Its rows may grow by themselves.
    if (space) this.observer.observe(space);
  };

  override componentDidMount(): void {
    if (this.props.handle) this.props.handle.current = this;
    if (this.box) this.observer.observe(this.box);
    this.settle();
  }

  override componentDidUpdate(): void {
    this.settle();
  }

  override componentWillUnmount(): void {
    this.observer.disconnect();
  }

  /** Goes to the end. */
  toEnd(): void {
    [this.isAtEnd, this.anchor] = [true, undefined];
    this.settle();
  }

  /** Brings a row into view, and gives it back once it is on the page. */
  async show(key: string | number): Promise<HTMLElement | null> {
    for (let frame = 0; frame < SHOW_FRAMES; frame++) {
      this.bring(key);
      const element = this.box?.querySelector<HTMLElement>(`[data-key="${key}"]`);
      if (element) return element;
      await new Promise(requestAnimationFrame);
    }
    return null;
  }

  private bring(key: string | number): void {
    const at = this.props.indexOf(key);
    if (at < 0 || !this.box) return;
    const [begin, end] = [this.offsets[at]! + this.headerHeight, this.offsets[at + 1]! + this.headerHeight];
    if (begin < this.box.scrollTop || end > this.box.scrollTop + this.box.clientHeight) {
      const above = Math.min(0, (end - begin - this.box.clientHeight) / 2);
      [this.isAtEnd, this.anchor] = [false, { key, above }];
      this.settle();
    }
  }

  private get headerHeight(): number {
    return this.top.current?.offsetHeight ?? 0;
  }

  private layOut(): void {
    const { rows, estimate } = this.props;
    if (this.offsets.length !== rows.length + 1) this.offsets = new Float64Array(rows.length + 1);
    let sum = 0;
    for (let at = 0; at < rows.length; at++) {
      this.offsets[at] = sum;
      sum += rows[at]!.height || estimate;
    }
    this.offsets[rows.length] = sum;
  }

  /** The first row that ends below a height. */
  private rowAt(height: number): number {
    let [low, high] = [0, this.props.rows.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.offsets[middle + 1]! <= height) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** Measures what is on the page, puts it where it was, and shows what belongs there: until nothing changes. */
  private settle(): void {
    const { box, space } = this;
    if (!box || !space) return;
    if (box.clientWidth !== this.width) {
      this.width = box.clientWidth;
      for (const row of this.props.rows) row.height = 0;
    }
    for (let turn = 0; turn < 8; turn++) {
      for (const element of space.children) {
        const row = this.props.rows[this.props.indexOf(this.keyFrom(element))];
        const { height } = element.getBoundingClientRect();
        if (row && height > 0) row.height = height;
      }
      this.layOut();
      const height = `${this.offsets[this.props.rows.length]}px`;
      if (space.parentElement!.style.height !== height) space.parentElement!.style.height = height;
      if (this.isAtEnd) box.scrollTop = box.scrollHeight;
      else if (this.anchor) {
        const at = this.props.indexOf(this.anchor.key);
        const wanted = at < 0 ? box.scrollTop : this.offsets[at]! + this.headerHeight + this.anchor.above;
        if (Math.abs(wanted - box.scrollTop) >= 1) box.scrollTop = wanted;
      }
      if (!this.place()) break;
    }
    this.tell();
  }

  private keyFrom(element: Element): string | number {
    const key = (element as HTMLElement).dataset["key"] ?? "";
    return typeof this.props.keyOf(this.props.rows[0] ?? ({} as Row)) === "number" ? Number(key) : key;
  }

  /** Finds out which rows can be seen. Whether those are others than before. */
  private place(): boolean {
    const { box } = this;
    if (!box) return false;
    const from = this.rowAt(box.scrollTop - this.headerHeight - BEYOND);
    const to = Math.min(this.props.rows.length, this.rowAt(box.scrollTop - this.headerHeight + box.clientHeight + BEYOND) + 1);
    if (from === this.from && to === this.to) return false;
    [this.from, this.to] = [from, to];
    this.setState({});
    return false; // it comes back here once they are on the page
  }

  private readonly onScroll = (): void => {
    const { box } = this;
    if (!box) return;
    this.isAtEnd = !this.props.startsAtBeginning && box.scrollHeight - box.scrollTop - box.clientHeight < NEAR_END;
    const at = this.rowAt(box.scrollTop - this.headerHeight);
    const row = this.props.rows[at];
    this.anchor = row && !this.props.startsAtBeginning ? { key: this.props.keyOf(row), above: box.scrollTop - this.headerHeight - this.offsets[at]! } : undefined;
    this.place();
    this.tell();
  };

  private tell(): void {
    const { box } = this;
    if (!box) return;
    if (box.scrollTop < NEAR_BEGINNING) this.props.onBeginning?.();
    this.props.onEnd?.(this.isAtEnd);
  }

  override render(): ComponentChildren {
    const { rows, keyOf, render, header, footer, attributes } = this.props;
    this.layOut();
    const to = Math.min(this.to, rows.length);
    const from = Math.min(this.from, to);
    return (
      <div {...attributes} ref={this.takeBox} onScroll={this.onScroll}>
        <div ref={this.top}>{header}</div>
        <div class="space" style={{ height: `${this.offsets[rows.length]}px` }}>
          <div class="window" ref={this.takeSpace} style={{ transform: `translateY(${this.offsets[from]}px)` }}>
            {rows.slice(from, to).map((row, at) => (
              <div key={keyOf(row)} data-key={keyOf(row)}>
                {render(row, from + at)}
              </div>
            ))}
          </div>
        </div>
        {footer}
      </div>
    );
  }
}
