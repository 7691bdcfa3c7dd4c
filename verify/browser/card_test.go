package browser_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/throttle-go/throttle"
	"github.com/throttle-go/throttle/throttledebug"
)

// Cards leave no holes between them, whatever their heights, and their strips can be compared.
func TestPage_Cards(t *testing.T) {
	t.Parallel()
	shown, server := visiting(t, gallery(t)...)
	eventually(t, func(t *assert.CollectT) {
		assert.Equal(t, 5, evaluate[int](t, shown, `document.querySelectorAll(".lanes > li[data-lane^=row]").length`))
	})
	for i, like := range append(views(), views()...) {
		if i == len(views()) {
			shown.visit(t, server.URL+"?show=pending") // an odd number of cards without keys
		}
		shown.look(t, like)
		// Every pixel of the cards' area is covered, but for the gaps of 16 pixels.
		assert.Empty(t, evaluate[[]string](t, shown, `(() => {
			const cards = [...document.querySelectorAll(".cards > section")];
			const boxes = cards.map(card => card.getBoundingClientRect());
			const {left, right, top, bottom} = document.querySelector(".cards").getBoundingClientRect();
			const holes = [];
			for (let y = top + 1; y < bottom; y += 17)
				for (let x = left + 1; x < right; x += 17)
					if (!boxes.some(box => box.left - 17 < x && x < box.right + 17 && box.top - 17 < y && y < box.bottom + 17)) holes.push(x + "," + y);
			return holes;
		})()`), "holes, %s", like)
		assert.Len(t, evaluate[[]int](t, shown, `[...new Set([...document.querySelectorAll("main .strip")]
			.map(strip => Math.round(strip.getBoundingClientRect().width)))]`), 1, "widths of strips, %s", like)
	}
}

// The labels of all time axes are legible on a phone.
func TestPage_Axes(t *testing.T) {
	t.Parallel()
	reload := throttler(t, throttle.Every(time.Second), succeed)
	shown, server := visiting(t, throttledebug.Throttler(reload))
	shown.look(t, views()[0])
	axes := evaluate[[]string](t, shown, `[...document.querySelectorAll("nav[aria-label='time axis'] a")].map(link => link.getAttribute("href"))`)
	assert.Len(t, axes, 8)
	for _, axis := range axes {
		shown.visit(t, server.URL+axis)
		labels := evaluate[[]string](t, shown, `[...document.querySelectorAll("main .strip")].flatMap(strip => {
			const texts = [...strip.querySelectorAll("text")].filter(text => text.checkVisibility()).map(text => text.getBoundingClientRect());
			return texts.filter((box, i) => box.height < 12 || i > 0 && box.left < texts[i - 1].right + 2).map(box => box.left + " " + box.height);
		})`)
		assert.Empty(t, labels, "labels that are too small, or touch, %s", axis)
	}
}
